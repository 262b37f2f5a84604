"""The modifications of Table 4: the published column's name to the options of model `convnet64` that make it."""

Options = dict[str, bool | int | float | str]

#: (R)emove, (I)ncrease, (D)ecrease, as Table 4 heads its columns; `None` is the model as it is.
MODIFICATIONS: dict[str, Options] = {
    "None": {},
    "R ReLU": {"activation": "none"},
    "R DropOut": {"dropout": 0.0},
    "R MaxPool2d": {"pool": False},
    "I kernel to 4": {"kernel": 4},
    "R bias": {"bias": False, "fc_bias": False},
    "D kernel to 2": {"kernel": 2},
    "D kernel to 1": {"kernel": 1},
    "I padding to 2": {"padding": 2},
    "I padding to 3": {"padding": 3},
}
