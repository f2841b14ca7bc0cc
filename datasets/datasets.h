// Labelled images for training and tests: readers, digits drawn by the program, noise, augmentation, batches.
#pragma once

#include <mollify/datasets/augment.h>       // Augmentation: random crops and horizontal flips
#include <mollify/datasets/cifar.h>         // read_cifar10, read_cifar100
#include <mollify/datasets/dataset.h>       // Dataset, Splits, take, split
#include <mollify/datasets/digits.h>        // digits: handwriting drawn by the program, without a download
#include <mollify/datasets/image_folder.h>  // read_image_folder: ImageNet and TinyImageNet
#include <mollify/datasets/load.h>          // load by name, MissingData
#include <mollify/datasets/loader.h>        // Loader, Batch, make_batch
#include <mollify/datasets/mnist.h>         // read_mnist
#include <mollify/datasets/noise.h>         // Noise: of inputs and of labels
#include <mollify/datasets/source.h>  // ImageSource: images by their numbers, in memory or read as they are needed
