"""Trainers' doors: each hands finished saves to this user's daemon, which checks and publishes them meanwhile.

``plain`` is for any training script, ``transformers``, ``lightning`` and ``dcp`` (torch.distributed.checkpoint) fit
into those, ``resume`` gives a training its newest good checkpoint back. A module imports its framework when the class
it is there for is first asked for.
"""
