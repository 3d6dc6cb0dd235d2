// The handlers that XLA calls, and what Python asks the library.
#include <string>
#include <utility>
#include <vector>

#include "convolve.h"
#include "kernels.h"
#include "xla/ffi/api/ffi.h"

namespace {

namespace ffi = xla::ffi;

class XlaThreads : public jds::Threads {
 public:
  explicit XlaThreads(ffi::ThreadPool& pool) : pool_(pool), count_(pool.num_threads()) {}
  int64_t count() const override { return count_; }
  void schedule(std::function<void()> work) override { pool_.Schedule(std::move(work)); }

 private:
  ffi::ThreadPool& pool_;
  int64_t count_;
};

ffi::ErrorOr<jds::Array> as_array(const ffi::AnyBuffer& buffer) {
  const ffi::AnyBuffer::Dimensions dims = buffer.dimensions();
  jds::Type type;
  switch (buffer.element_type()) {
    case ffi::DataType::F32: type = jds::Type::kFloat32; break;
    case ffi::DataType::BF16: type = jds::Type::kBFloat16; break;
    case ffi::DataType::F16: type = jds::Type::kFloat16; break;
    default:
      return ffi::Unexpected(ffi::Error::InvalidArgument(
          "jds's CPU kernels compute float32, bfloat16 and float16 only"));
  }
  return jds::Array{type, std::vector<int64_t>(dims.begin(), dims.end()), buffer.untyped_data()};
}

using Operation = std::string (*)(const jds::Array&, const jds::Array&, const jds::Array&, const jds::Geometry&,
                                  jds::Threads&);

template <Operation operation>
ffi::Error convolve(ffi::ThreadPool pool, ffi::AnyBuffer lhs, ffi::AnyBuffer rhs, ffi::Result<ffi::AnyBuffer> result,
                    ffi::Span<const int64_t> geometry) {
  const ffi::ErrorOr<jds::Array> a = as_array(lhs), b = as_array(rhs), out = as_array(*result);
  for (const ffi::ErrorOr<jds::Array>* array : {&a, &b, &out}) {
    if (!array->has_value()) return array->error();
  }
  XlaThreads threads(pool);
  const std::string wrong = operation(*a, *b, *out, jds::Geometry(geometry.begin(), geometry.end()), threads);
  return wrong.empty() ? ffi::Error::Success() : ffi::Error::InvalidArgument("jds: " + wrong);
}

template <Operation operation>
auto binding() {
  return ffi::Ffi::Bind()
      .Ctx<ffi::ThreadPool>()
      .Arg<ffi::AnyBuffer>()
      .Arg<ffi::AnyBuffer>()
      .Ret<ffi::AnyBuffer>()
      .Attr<ffi::Span<const int64_t>>("geometry");
}

}  // namespace

#pragma GCC visibility push(default)

XLA_FFI_DEFINE_HANDLER_SYMBOL(jds_depthwise, convolve<jds::depthwise>, binding<jds::depthwise>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(jds_kernel_gradient, convolve<jds::kernel_gradient>, binding<jds::kernel_gradient>());

// What the arguments of the handlers mean; Python refuses a library of another one.
extern "C" int jds_interface() { return 1; }

// Names of the instruction sets that this machine has, the best first, with spaces between.
extern "C" const char* jds_instruction_sets() {
  static const std::string names = [] {
    std::string joined;
    for (const jds::Kernels* kernels : jds::available_kernels()) joined += (joined.empty() ? "" : " ") + std::string(kernels->name);
    return joined;
  }();
  return names.c_str();
}

extern "C" bool jds_use_instruction_set(const char* name) { return jds::use_kernels(name); }

#pragma GCC visibility pop
