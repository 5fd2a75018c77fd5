"""Plain data: volumes, prompts, results, geometry and the errors everything else raises. No torch, Slicer, VTK or Qt."""
