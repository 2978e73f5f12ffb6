// Transposed convolutions over one axis as plain ones: the same sums, computed by kernels of OpenVINO that are many
// times as fast. What is wrong, not slow, is lowering.h's.
#pragma once

#include <memory>
#include <openvino/core/model.hpp>

namespace pajamas::openvino {

/// Changes `model` in place: a ConvolutionBackpropData over one axis with constant float32 weights, whose kernel is a
/// multiple of its stride, becomes a Convolution that makes `stride` samples a step, laid out one behind the other. On
/// two cores of a Sapphire Rapids, decoder of a voice: 104 to 50 ms a sentence in bfloat16, no slower in float32.
void replace_transposed_convolutions(const std::shared_ptr<ov::Model>& model);

}  // namespace pajamas::openvino
