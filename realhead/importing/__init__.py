"""Other people's formats, read and written as captures: VHAP, NeRSemble, INSTA with metrical-tracker, SMIRK."""
