// See activation_source.h.
#include "targets/cuda/backends/activation_source.h"

#include <cstdio>

#include "pajamas/error.h"

namespace pajamas::cuda {

std::string float_literal(float number) {
  char buffer[64];
  std::snprintf(buffer, sizeof buffer, "%.9ef", static_cast<double>(number));
  return buffer;
}

std::string activation_source(const Activation& given) {
  const std::string alpha = "Number(" + float_literal(given.alpha) + ")";
  const std::string beta = "Number(" + float_literal(given.beta) + ")";
  switch (given.kind) {
    case ActivationKind::kNone: return "";
    case ActivationKind::kRelu: return "  t = t < Number(0) ? Number(0) : t;\n";
    case ActivationKind::kSilu: return "  t = t / (Number(1) + exp(-t));\n";
    case ActivationKind::kSigmoid: return "  t = Number(1) / (Number(1) + exp(-t));\n";
    case ActivationKind::kTanh: return "  t = tanh(t);\n";
    case ActivationKind::kGeluErf:
      return "  t = Number(0.5) * t * (Number(1) + erf(t * Number(0.70710678118654752440)));\n";
    case ActivationKind::kGeluTanh:
      return "  t = Number(0.5) * t * (Number(1) + tanh(Number(0.79788456080286535588) * (t + Number(0.044715) * t * "
             "t "
             "* t)));\n";
    case ActivationKind::kClip:
      return "  t = t < " + alpha + " ? " + alpha + " : (t > " + beta + " ? " + beta + " : t);\n";
    case ActivationKind::kLeakyRelu: return "  t = t < Number(0) ? t * " + alpha + " : t;\n";
    case ActivationKind::kHardSigmoid:
      return "  t = " + alpha + " * t + " + beta +
             ";\n  t = t < Number(0) ? Number(0) : (t > Number(1) ? Number(1) : t);\n";
    case ActivationKind::kHardSwish:
      return "  { Number s = t / Number(6) + Number(0.5);\n"
             "    t = t * (s < Number(0) ? Number(0) : (s > Number(1) ? Number(1) : s)); }\n";
    case ActivationKind::kElu: return "  t = t < Number(0) ? " + alpha + " * expm1(t) : t;\n";
    case ActivationKind::kSoftplus: return "  t = softplus(t);\n";
    case ActivationKind::kMish: return "  t = t * tanh(softplus(t));\n";
  }
  throw Error(ErrorKind::kInternal, "an activation without a formula");
}

std::string fast_activation_source(const Activation& activation) {
  // -inf times 0 is NaN in these, and NaN is what the exact formulas give for it too.
  switch (activation.kind) {
    case ActivationKind::kSilu: return "  t = t * reciprocal(1.0f + power_of_two(t * -1.44269504f));\n";
    case ActivationKind::kSigmoid: return "  t = reciprocal(1.0f + power_of_two(t * -1.44269504f));\n";
    case ActivationKind::kGeluErf:
      // The normal distribution is 1 / (1 + 2^-q), and q an odd function near to a polynomial. The coefficients make
      // t / (1 + 2^-q) for t in [-5.2, 0] err by at most 0.9 units in the last place of float16 (weighted minimax,
      // tools/fit_gelu); beyond, the result is 0 to float16, and q goes on to grow.
      return "  {\n"
             "    const float s = t * t;\n"
             "    float q = 4.99118332e-7f * s - 8.44567020e-6f;\n"
             "    q = q * s - 1.12757219e-3f;\n"
             "    q = q * s + 1.07993896e-1f;\n"
             "    q = q * s + 2.29912821f;\n"
             "    t = t * reciprocal(1.0f + power_of_two(-t * q));\n"
             "  }\n";
    case ActivationKind::kGeluTanh:
      // (1 + tanh(v)) / 2 is 1 / (1 + 2^(-2 v / ln 2)).
      return "  t = t * reciprocal(1.0f + power_of_two(-2.30220819f * (t + 0.044715f * t * t * t)));\n";
    default: return activation_source(activation);
  }
}

}  // namespace pajamas::cuda
