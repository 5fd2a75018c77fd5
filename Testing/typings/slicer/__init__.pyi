# slicer-core ships no type information, and its classes are loaded at run time.
from typing import Any

def __getattr__(name: str) -> Any: ...
