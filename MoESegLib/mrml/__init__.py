"""Between the scene and the core: volumes, prompts and segments. Needs vtk and slicer (or slicer-core), never Qt."""
