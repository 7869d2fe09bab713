"""Growth while the transformers Trainer trains: GrowthCallback."""
from torch.nn.parallel import DistributedDataParallel
from transformers import TrainerCallback

from ._native import Error, GrowthPlan
from .torch import find_layers, grow, rewrap
from .torch.find import layers_at, unwrap


class GrowthCallback(TrainerCallback):
    """Grows the Trainer's model and optimizer in place when the steps of `plan` are done.

    plan:    a GrowthPlan of the Trainer's max_steps (plan_growth, GrowthPlan.parse); the model starts at its depth.
    layers:  dotted path of the list of layers; None finds it.
    trainer: the Trainer, needed under several processes (DistributedDataParallel), where its wrapper is made again
             around the grown model: trainer.add_callback(GrowthCallback(plan, trainer=trainer)).

    Every rank grows alike. FSDP and DeepSpeed raise Error. A run that resumes must begin with the model of the
    checkpoint (from_pretrained), which has the depth of its step.
    """

    def __init__(self, plan, *, layers=None, trainer=None):
        if not isinstance(plan, GrowthPlan):
            raise Error(f"[GrowthCallback] expected a GrowthPlan, got {type(plan).__name__}")
        self.plan, self.layers, self.trainer = plan, layers, trainer
        self.stages = {stage.first_step: stage for stage in plan.stages[1:]}

    def on_train_begin(self, args, state, control, model=None, **kwargs):
        if args.world_size > 1 and self.trainer is None:
            raise Error(f"[GrowthCallback] expected the Trainer under {args.world_size} processes, got none: "
                        "trainer.add_callback(GrowthCallback(plan, trainer=trainer))")
        inner = unwrap(model)
        depth = len(layers_at(inner, self.layers or find_layers(inner)))
        step = min(state.global_step, self.plan.total_steps - 1)
        if depth != self.plan.layers_at(step):
            raise Error(f"[GrowthCallback] expected a model of {self.plan.layers_at(step)} layers at step "
                        f"{state.global_step} of the plan, got {depth}")

    def on_step_end(self, args, state, control, model=None, optimizer=None, **kwargs):
        stage = self.stages.get(state.global_step)
        if stage is not None:
            optimizer.zero_grad()
            wrapped = None if self.trainer is None else self.trainer.model_wrapped
            inside = wrapped is not None and isinstance(wrapped, DistributedDataParallel)
            grow(wrapped.module if inside else model, optimizer, stage, layers=self.layers)
            if inside:
                rewrap(wrapped)
