"""Callbacks for ``study.optimize(task, callbacks=[...])``: each trial is written where other experiments are kept."""

from actsearch.callbacks.mlflow import MLflowCallback
from actsearch.callbacks.tensorboard import TensorBoardCallback
from actsearch.callbacks.wandb import WandbCallback

__all__ = ["MLflowCallback", "TensorBoardCallback", "WandbCallback"]
