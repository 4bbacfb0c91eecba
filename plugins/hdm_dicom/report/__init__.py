"""The products `report` and `measurements`: what was found, in millilitres, units of the image and millimetres."""
