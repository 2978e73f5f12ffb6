// The operator table against facts of the ONNX operator documentation.
#include "graph/operator_table.h"

#include <gtest/gtest.h>

namespace pajamas {
namespace {

TEST(OperatorTable, SelectsTheVersionInForce) {
  ASSERT_NE(find_operator("", "Softmax", 12), nullptr);
  EXPECT_EQ(find_operator("", "Softmax", 7)->since_version, 1);
  EXPECT_EQ(find_operator("", "Softmax", 12)->since_version, 11);
  EXPECT_EQ(find_operator("", "Softmax", 13)->since_version, 13);
  EXPECT_EQ(find_operator("ai.onnx", "Softmax", 1000)->since_version, 13);
  EXPECT_EQ(find_operator("", "Attention", 22), nullptr);
  EXPECT_EQ(find_operator("", "Attention", 23)->since_version, 23);
  EXPECT_EQ(find_first_version("", "Attention")->since_version, 23);
}

TEST(OperatorTable, KnowsCountsAndAttributes) {
  const OperatorSchema* conv = find_operator("", "Conv", 17);
  ASSERT_NE(conv, nullptr);
  EXPECT_EQ(conv->min_inputs, 2);
  EXPECT_EQ(conv->max_inputs, 3);
  EXPECT_EQ(conv->required_inputs, 0x3U);
  EXPECT_EQ(conv->find_attribute("group")->type, 2);
  EXPECT_EQ(conv->find_attribute("pads")->type, 7);
  EXPECT_FALSE(conv->find_attribute("padding").has_value());
  EXPECT_FALSE(conv->find_attribute("").has_value());
  EXPECT_EQ(find_operator("", "Concat", 13)->max_inputs, OperatorSchema::kAny);
  const auto axis = find_operator("", "Concat", 13)->find_attribute("axis");
  EXPECT_TRUE(axis->is_required);
  EXPECT_STREQ(attribute_type_name(axis->type), "integer");
  EXPECT_TRUE(find_operator("", "If", 13)->find_attribute("then_branch")->is_required);
  EXPECT_EQ(find_operator("", "If", 13)->find_attribute("then_branch")->type, 5);
  EXPECT_EQ(find_operator("", "Constant", 13)->find_attribute("sparse_value")->type, 11);
  EXPECT_EQ(find_operator("", "Optional", 15)->find_attribute("type")->type, 13);
  // Resize from opset 11 may omit inputs 1 and 2 before a given input 3.
  EXPECT_EQ(find_operator("", "Resize", 13)->required_inputs, 0x1U);
}

TEST(OperatorTable, KnowsWhatIsGone) {
  EXPECT_FALSE(find_operator("", "Upsample", 9)->is_deprecated);
  EXPECT_TRUE(find_operator("", "Upsample", 10)->is_deprecated);
}

TEST(OperatorTable, RefusesOtherNamesAndDomains) {
  EXPECT_EQ(find_operator("", "Convolution", 13), nullptr);
  EXPECT_EQ(find_operator("", "", 13), nullptr);
  EXPECT_EQ(find_operator("com.microsoft", "FusedConv", 1), nullptr);
  EXPECT_EQ(find_operator("", "Conv", 0), nullptr);
  EXPECT_EQ(newest_opset("com.microsoft"), 0);
  EXPECT_GE(newest_opset(""), 23);
  EXPECT_GE(newest_opset("ai.onnx.ml"), 3);
}

TEST(OperatorTable, IsSortedAndWellFormed) {
  const auto rows = all_operators();
  ASSERT_GT(rows.size(), 300U);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    SCOPED_TRACE(std::string(rows[i].name));
    EXPECT_EQ(find_operator(rows[i].domain, rows[i].name, rows[i].since_version), &rows[i]);
    rows[i].for_each_attribute([](const AttributeSchema& attribute) {
      EXPECT_FALSE(attribute.name.empty());
      EXPECT_GE(attribute.type, 1);
      EXPECT_LE(attribute.type, 14);
    });
  }
}

}  // namespace
}  // namespace pajamas
