"""The still life of the sample capture: every mesh, texture and light is made by the code in this folder.

Frame: metres, right-handed, +Z up; the table's centre stands at x = y = 0 and the floor at z = 0. Textures are sRGB 0..1.
Everything but render.py needs numpy, scipy, scikit-image and Pillow only; render.py needs Mitsuba 3 and pyoidn.
"""
