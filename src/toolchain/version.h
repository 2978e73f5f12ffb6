// Version of this program.
#pragma once

namespace pajamas {

/// "0.1.0", from the project's CMakeLists.txt.
const char* program_version() noexcept;

}  // namespace pajamas
