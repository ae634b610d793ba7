"""A dataset of ours in the formats that the field reads; `exporting.py` is where to start.

exported = export_dataset(Path("ds"), Path("ds-hf"), "videofolder")
"""

from countermark.exports.exporting import FORMS as FORMS
from countermark.exports.exporting import Exported as Exported
from countermark.exports.exporting import export_dataset as export_dataset
from countermark.exports.job import ExportError as ExportError
from countermark.exports.job import Wishes as Wishes
