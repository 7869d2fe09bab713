"""Growth while the transformers Trainer trains: GrowthCallback."""
from transformers import TrainerCallback

from ._native import Error, GrowthPlan
from .torch import find_layers, grow
from .torch.find import layers_at, unwrap


class GrowthCallback(TrainerCallback):
    """Grows the Trainer's model and optimizer in place when the steps of `plan` are done.

    plan:   a GrowthPlan of the Trainer's max_steps (plan_growth, GrowthPlan.parse); the model starts at its depth.
    layers: dotted path of the list of layers; None finds it.

    One process a model: under DistributedDataParallel, FSDP and DeepSpeed it raises Error at the start. A run that
    resumes must begin with the model of the checkpoint (from_pretrained), which has the depth of its step.
    """

    def __init__(self, plan, *, layers=None):
        if not isinstance(plan, GrowthPlan):
            raise Error(f"[GrowthCallback] expected a GrowthPlan, got {type(plan).__name__}")
        self.plan, self.layers = plan, layers
        self.stages = {stage.first_step: stage for stage in plan.stages[1:]}

    def on_train_begin(self, args, state, control, model=None, **kwargs):
        if args.world_size > 1:
            raise Error(f"[GrowthCallback] expected one process, got {args.world_size}: train each stage in a run of "
                        "its own, and grow between them")
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
            grow(model, optimizer, stage, layers=self.layers)
