// The boundary to XLA: exceptions become XLA errors.
#ifndef JDS_RUNTIME_GUARD_H_
#define JDS_RUNTIME_GUARD_H_

#include <chrono>
#include <cstdio>
#include <exception>
#include <new>
#include <thread>

#include "runtime/memory.h"
#include "xla/ffi/api/ffi.h"

namespace jds {

// The most characters of an error message: there may be no memory for more.
constexpr int kMessage = 300;

inline XLA_FFI_Error* make_error(const XLA_FFI_Api* api, XLA_FFI_Error_Code code, const char* message) {
  XLA_FFI_Error_Create_Args args = {};
  args.struct_size = XLA_FFI_Error_Create_Args_STRUCT_SIZE;
  args.message = message;
  args.errc = code;
  while (true) {
    try {
      return api->XLA_FFI_Error_Create(&args);
    } catch (...) {  // XLA has no memory for the error: wait until another thread frees some
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
}

inline XLA_FFI_Error* guarded(const char* kernel, XLA_FFI_Handler* handler, XLA_FFI_CallFrame* frame) {
  XLA_FFI_Error_Code code = XLA_FFI_Error_Code_RESOURCE_EXHAUSTED;
  char message[kMessage];
  try {
    return handler(frame);
  } catch (const OutOfMemory& error) {
    std::snprintf(message, kMessage, "Out of memory: the kernel %s asked for %lld bytes to work in.", kernel,
                  static_cast<long long>(error.bytes()));
  } catch (const std::bad_alloc&) {
    std::snprintf(message, kMessage, "Out of memory: the kernel %s asked for a few bytes to work in.", kernel);
  } catch (const std::exception& error) {
    code = XLA_FFI_Error_Code_INTERNAL;
    std::snprintf(message, kMessage, "The kernel %s failed: %s", kernel, error.what());
  } catch (...) {
    code = XLA_FFI_Error_Code_INTERNAL;
    std::snprintf(message, kMessage, "The kernel %s failed.", kernel);
  }
  return make_error(frame->api, code, message);
}

}  // namespace jds

// Defines the exported handler `name`, which lets no exception out.
#define JDS_HANDLER(name, function, binding)                   \
  extern "C" XLA_FFI_Error* name(XLA_FFI_CallFrame* frame) {   \
    XLA_FFI_DEFINE_HANDLER(handler, function, binding);        \
    return jds::guarded(#name, handler, frame);                \
  }

#endif  // JDS_RUNTIME_GUARD_H_
