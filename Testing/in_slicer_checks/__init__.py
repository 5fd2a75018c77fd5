"""Checks of the module in the Slicer application; see docs/in-slicer.md. Start them with Testing/in_slicer.py."""
