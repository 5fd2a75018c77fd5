"""Plain data: volumes, prompts, results, geometry and errors. No torch, Slicer, VTK or Qt."""
