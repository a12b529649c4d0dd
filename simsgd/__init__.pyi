"""The types of what `import simsgd` offers, for editors and type checkers; at run time names are loaded when first used."""

from simsgd import compressions as compressions
from simsgd import faults as faults
from simsgd import methods as methods
from simsgd import networks as networks
from simsgd import optimizers as optimizers
from simsgd import plots as plots
from simsgd import problems as problems
from simsgd import protocols as protocols
from simsgd import studies as studies
from simsgd import testing as testing
from simsgd import times as times
from simsgd import works as works
from simsgd.cluster import Cluster as Cluster
from simsgd.compression import Compression as Compression
from simsgd.identifying import identity as identity
from simsgd.method import Method as Method
from simsgd.problems import Problem as Problem
from simsgd.protocols import AsyncSGD as AsyncSGD
from simsgd.protocols import MinibatchSGD as MinibatchSGD
from simsgd.protocols import Protocol as Protocol
from simsgd.recording.recorder import record as record
from simsgd.recording.refusals import ProtocolError as ProtocolError
from simsgd.recording.stuck import StuckError as StuckError
from simsgd.replaying.cache import compilation_cache as compilation_cache
from simsgd.replaying.replay import replay as replay
from simsgd.run import Run as Run
from simsgd.simulation import simulate as simulate
from simsgd.stopping import Gradients as Gradients
from simsgd.stopping import Samples as Samples
from simsgd.stopping import Seconds as Seconds
from simsgd.stopping import Target as Target
from simsgd.stopping import Updates as Updates
from simsgd.studies import Cell as Cell
from simsgd.studies import Study as Study
from simsgd.studies import compare as compare
from simsgd.support.bounds import BoundError as BoundError
from simsgd.support.bounds import bounds as bounds
from simsgd.support.files import FileFormatError as FileFormatError
from simsgd.support.files import writing as writing
from simsgd.support.forked import ForkedProcessError as ForkedProcessError
from simsgd.tape import Tape as Tape
from simsgd.tape.rules import TapeError as TapeError
from simsgd.work import OneGradient as OneGradient
from simsgd.work import Work as Work

__version__: str
