"""Trainers' doors, with a daemon that answers from a script and no framework."""
