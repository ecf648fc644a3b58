// Copyright 2026 The referdino authors
// SPDX-License-Identifier: Apache-2.0
//
// What every function that the library exports keeps to: plain C over raw pointers, so that one compiler
// call builds it, whatever Python or PyTorch it is used with; and a status instead of an exception.

#pragma once

#include <cstdint>
#include <new>
#include <stdexcept>

#define REFERDINO_EXPORT extern "C" __attribute__((visibility("default")))

// The end of an exported function whose body is `try { ...; return kDone; }`. Within a parallel region
// nothing may be thrown, and so nothing allocated: see scratch.h.
#define REFERDINO_CATCH                      \
  catch (...) {                              \
    return referdino::status_of_exception(); \
  }

namespace referdino {

using Index = std::int64_t;

// Mirrored in library.py.
enum Status : int { kDone = 0, kTooManySamples = 1, kOutOfMemory = 2, kFailed = 3 };

// Of the exception that is being handled.
inline Status status_of_exception() noexcept {
  try {
    throw;
  } catch (const std::bad_alloc&) {
    return kOutOfMemory;
  } catch (const std::length_error&) {
    return kOutOfMemory;
  } catch (...) {
    return kFailed;
  }
}

}  // namespace referdino
