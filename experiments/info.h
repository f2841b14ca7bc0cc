// `mollify info`: what this build has and what it finds on this machine.
#pragma once

#include <string>

namespace mollify::experiments {

std::string version_text();  // "mollify 0.1.0"
std::string simd_target();   // that kernels run on here
int info_command();

}  // namespace mollify::experiments
