"""Growth of PyTorch models in mid-training, `grow(model, optimizer, order)` in place; and of state dictionaries."""
from .grow import grow
from .data_parallel import rewrap
from .find import find_layers
from .moments import load_moments, save_moments
from .state_dict import grow_optimizer_state_dict, grow_state_dict

__all__ = ["find_layers", "grow", "grow_optimizer_state_dict", "grow_state_dict",
           "load_moments", "rewrap", "save_moments"]
