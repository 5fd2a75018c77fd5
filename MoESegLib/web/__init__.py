"""MoESeg in a browser: one page, served from this computer, on the same workbench as the panel in Slicer.

Needs the extra ``web`` (aiohttp and slicer-core). The page is plain HTML and JavaScript in ``static``; it asks for
nothing from other computers.
"""
