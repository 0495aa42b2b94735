"""Other people's doors: how model hubs' clients, trainers and file systems reach a daemon.

Each module imports the library that it serves when it is used, and none when it is imported.
"""
