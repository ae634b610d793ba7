"""How a head moves while it speaks: the named motion vector, and what fills it from speech."""
