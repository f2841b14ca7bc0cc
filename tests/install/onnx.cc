#include <mollify/mollify.h>

int main() {
  try {
    mollify::nn::formats::read_onnx("none.onnx");
  } catch (const mollify::Error&) { return 0; }
  return 1;
}
