"""The SageMaker API on loopback: real wire protocol, real jobs, this machine.

Start it with `python -m local_sagemaker up`, or from Python with `local_sagemaker.daemon.ensure`.
"""

__version__ = "0.1.0"
