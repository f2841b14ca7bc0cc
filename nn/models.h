// The networks of the papers, for images of any extent and channels.
#pragma once

#include <mollify/nn/network.h>

#pragma GCC visibility push(default)
namespace mollify::nn {

// `input` is [H, W, C]. Throws ValueError with the names there are. Weight counts are for MNIST (28, 28, 1), from
// resnet18 on for CIFAR-10 (32, 32, 3):
//   cnn            Starnes & Webster, Table 3: conv 32@4, ReLU, average pool 2, dense 128, ReLU, dense        591,786
//   lenet_300_100  Ohta et al.: dense 300, 100, each ReLU then batch norm without scale and shift             266,610
//   linear         one dense layer                                                                              7,850
//   cnn3           certified training: conv 16@5 s2 p2, conv 32@4 s2 p1, dense                                 24,330
//   cnn3_tiny      the same with 2 and 2 channels                                                               1,108
//   cnn5           conv 16@3 p1, 16@4 s2 p1, 32@4 s2 p1, dense 512, dense                                     820,954
//   resnet18, 34   He et al. 2016, basic blocks; 3×3 stem without pooling below 64 pixels      11,173,962, 21,282,122
//   resnet50       bottleneck blocks                                                                       23,520,842
//   cifar_resnet20, 110  He et al. 2016, section 4.2: 16, 32 and 64 filters, 1×1 shortcuts           272,474, 1,730,714
//   heat_resnet34  Campbell et al. 2020: stages of 5 blocks, 16, 32 and 64 filters, each convolution's bias
//                  after its batch norm, outputs normalised; start it as fan_in_uniform                      488,714
//   wrn_28_10      Zagoruyko & Komodakis 2016, no dropout                                                  36,479,194
Network make(const std::string& name, const Shape& input, int64_t classes);

std::vector<std::string> model_names();

}  // namespace mollify::nn
#pragma GCC visibility pop
