// The names of detection heads as one text, for help and messages. The heads: task_facts.h, where they are read and
// written one by one.
#pragma once

#include <string>

namespace pajamas {

/// All of them, separated by ", ".
std::string detection_head_names();

}  // namespace pajamas
