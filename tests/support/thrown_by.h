// The error that a call throws, for tests that look at its kind and words.
#pragma once

#include <gtest/gtest.h>

#include "pajamas/error.h"

namespace pajamas::test {

/// What `call` throws; a failure of the test when it throws nothing.
template <typename Call>
Error thrown_by(Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "nothing was thrown";
  return {ErrorKind::kInternal, "nothing was thrown"};
}

}  // namespace pajamas::test
