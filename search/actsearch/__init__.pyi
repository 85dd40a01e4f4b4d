# The one table of public names: type checkers read it, and __init__.py imports from it what is asked for.
from actsearch import benchmark as benchmark
from actsearch.activation_catalog import catalog as catalog
from actsearch.activations import (
    HingeSum as HingeSum,
)
from actsearch.activations import (
    activation as activation,
)
from actsearch.activations import (
    approximate as approximate,
)
from actsearch.activations import (
    gain as gain,
)
from actsearch.activations import (
    moments as moments,
)
from actsearch.adapters import register_hf as register_hf
from actsearch.adapters import timm_act_layer as timm_act_layer
from actsearch.callbacks import (
    MLflowCallback as MLflowCallback,
)
from actsearch.callbacks import (
    TensorBoardCallback as TensorBoardCallback,
)
from actsearch.callbacks import (
    WandbCallback as WandbCallback,
)
from actsearch.deployment import (
    DeployedModel as DeployedModel,
)
from actsearch.deployment import (
    Deployment as Deployment,
)
from actsearch.deployment import (
    deploy as deploy,
)
from actsearch.errors import (
    ActivationError as ActivationError,
)
from actsearch.errors import (
    ActsearchError as ActsearchError,
)
from actsearch.errors import (
    ActsearchWarning as ActsearchWarning,
)
from actsearch.errors import (
    BenchmarkError as BenchmarkError,
)
from actsearch.errors import (
    FormulaError as FormulaError,
)
from actsearch.errors import (
    PlacementError as PlacementError,
)
from actsearch.errors import (
    SpaceError as SpaceError,
)
from actsearch.errors import (
    StorageError as StorageError,
)
from actsearch.errors import (
    StudyError as StudyError,
)
from actsearch.errors import (
    TaskError as TaskError,
)
from actsearch.evaluation import (
    Candidate as Candidate,
)
from actsearch.evaluation import (
    Cost as Cost,
)
from actsearch.evaluation import (
    Run as Run,
)
from actsearch.evaluation import (
    TrialPruned as TrialPruned,
)
from actsearch.evaluation import (
    cost as cost,
)
from actsearch.execution import Local as Local
from actsearch.execution import Processes as Processes
from actsearch.execution import Ray as Ray
from actsearch.execution import Slurm as Slurm
from actsearch.export import plot as plot
from actsearch.export import to_python as to_python
from actsearch.expression import Expression as Expression
from actsearch.expression import parse as parse
from actsearch.halving import SuccessiveHalving as SuccessiveHalving
from actsearch.placement import (
    Placement as Placement,
)
from actsearch.placement import (
    Site as Site,
)
from actsearch.placement import (
    place as place,
)
from actsearch.placement import (
    sites as sites,
)
from actsearch.records import TrialState as TrialState
from actsearch.report import Verdict as Verdict
from actsearch.report import VerdictRow as VerdictRow
from actsearch.screening import fingerprint as fingerprint
from actsearch.strategies import (
    Auto as Auto,
)
from actsearch.strategies import (
    Bayesian as Bayesian,
)
from actsearch.strategies import (
    Genetic as Genetic,
)
from actsearch.strategies import (
    Gradient as Gradient,
)
from actsearch.strategies import (
    RandomSearch as RandomSearch,
)
from actsearch.strategies import (
    Space as Space,
)
from actsearch.study import (
    FindResult as FindResult,
)
from actsearch.study import (
    Study as Study,
)
from actsearch.study import (
    Trial as Trial,
)
from actsearch.study import (
    VerdictTraining as VerdictTraining,
)
from actsearch.study import (
    create_study as create_study,
)
from actsearch.study import (
    delete_study as delete_study,
)
from actsearch.study import (
    find as find,
)
from actsearch.study import (
    load_study as load_study,
)
from actsearch.task import Task as Task

__version__: str
__all__: list[str]
