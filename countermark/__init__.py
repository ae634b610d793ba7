"""The face of the product: the `countermark` command, the demo and the page."""

__version__ = "0.1.0"
