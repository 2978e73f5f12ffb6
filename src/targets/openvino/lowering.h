// Rewrites of an imported model where OpenVINO's importer chose something that computes otherwise than ONNX says, and
// another of its operators computes it right. What cannot be put right so is refused by allow_list.h instead.
// Every rewrite is listed in docs/targets-openvino.md.
#pragma once

#include <cstddef>
#include <memory>
#include <openvino/core/model.hpp>

namespace pajamas::openvino {

/// Changes `model` (bodies of If and Loop included) in place:
/// - TopK: of equal elements the lower index comes first (stable).
/// - ReduceMax and ReduceMin of floats: infinite when nothing finite is reduced, instead of the largest finite number.
/// - NonMaxSuppression: a box whose overlap equals the threshold stays.
void lower_for_openvino(const std::shared_ptr<ov::Model>& model);

/// Refuses, by the name of the node, what OpenVINO computes wrongly, or dies of, when extents are open: shapes of inner
/// values are known only now, so allow_list.h cannot see it. Throws Error{kUnsupported}.
void check_open_shapes(const std::shared_ptr<ov::Model>& model);

/// The most elementwise operators in a row on any path through the model (bodies of If and Loop by themselves).
std::size_t longest_elementwise_run(const std::shared_ptr<ov::Model>& model);

/// Whether a softmax over an open number of positions lies between two matrix products. OpenVINO 2026.4 generates one
/// kernel for the three, and takes one that it made for fewer than 16 positions for more of them too, with wrong
/// results.
bool has_open_attention(const std::shared_ptr<ov::Model>& model);

}  // namespace pajamas::openvino
