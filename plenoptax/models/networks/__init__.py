"""Convolutional networks trained on ImageNet, with torchvision's names of layers."""

from ._networks import AlexNet as AlexNet
from ._networks import EfficientNetLite0 as EfficientNetLite0
from ._networks import ResNet18 as ResNet18
from ._networks import ResNet50 as ResNet50
from ._networks import VGG16 as VGG16
from ._networks import VGG19 as VGG19
