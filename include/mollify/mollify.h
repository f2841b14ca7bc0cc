// All of the library.
#pragma once

#include <mollify/datasets/datasets.h>
#include <mollify/engine/grad.h>
#include <mollify/engine/ops.h>
#include <mollify/engine/cpu/threads.h>
#include <mollify/nn/bounds/alpha_crown.h>
#include <mollify/nn/bounds/bounds.h>
#include <mollify/nn/bounds/certified_loss.h>
#include <mollify/nn/bounds/verify.h>
#include <mollify/nn/formats/onnx.h>
#include <mollify/nn/formats/vnnlib.h>
#include <mollify/nn/layers.h>
#include <mollify/nn/losses.h>
#include <mollify/nn/models.h>
#include <mollify/nn/weights_file.h>
#include <mollify/optim/optimizer.h>
#include <mollify/optim/svrg.h>
#include <mollify/smoothing/activations.h>
#include <mollify/smoothing/attacks.h>
#include <mollify/smoothing/falsify.h>
#include <mollify/smoothing/gsmooth.h>
#include <mollify/smoothing/moments.h>
#include <mollify/smoothing/monte_carlo.h>
#include <mollify/smoothing/smooth.h>
