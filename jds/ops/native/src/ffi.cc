// The handlers that XLA calls, and what Python asks the library.
#include <string>
#include <utility>
#include <vector>

#include "convolve.h"
#include "guard.h"
#include "kernels.h"
#include "xla/ffi/api/ffi.h"

namespace {

namespace ffi = xla::ffi;
using Integers = ffi::Span<const int64_t>;

class XlaThreads : public jds::Threads {
 public:
  explicit XlaThreads(ffi::ThreadPool& pool) : pool_(pool), count_(pool.num_threads()) {}
  int64_t count() const override { return count_; }
  void schedule(std::function<void()> work) override { pool_.Schedule(std::move(work)); }

 private:
  ffi::ThreadPool& pool_;
  int64_t count_;
};

// The arrays of a call, the result last; or what is wrong with one.
struct Arrays {
  Arrays(ffi::RemainingArgs operands, ffi::Result<ffi::AnyBuffer> result) {
    for (size_t i = 0; i < operands.size(); ++i) {
      const auto operand = operands.get<ffi::AnyBuffer>(i);
      if (operand.has_value()) add(*operand);
    }
    add(*result);
  }

  void add(const ffi::AnyBuffer& buffer) {
    const ffi::AnyBuffer::Dimensions dims = buffer.dimensions();
    jds::Type type = jds::Type::kFloat32;
    switch (buffer.element_type()) {
      case ffi::DataType::F32: type = jds::Type::kFloat32; break;
      case ffi::DataType::BF16: type = jds::Type::kBFloat16; break;
      case ffi::DataType::F16: type = jds::Type::kFloat16; break;
      default: wrong = "the CPU kernels compute float32, bfloat16 and float16 only";
    }
    list.push_back({type, std::vector<int64_t>(dims.begin(), dims.end()), buffer.untyped_data()});
  }

  std::vector<jds::Array> list;
  std::string wrong;
};

// Takes arrays, in their order, as operands and as the optional vectors of endings.
class Reader {
 public:
  // `endings` has three numbers for each ending: whether it has a scale and a bias, and its activation.
  Reader(const Arrays& arrays, Integers endings) : arrays_(arrays), endings_(endings) {}

  const jds::Array* next() { return &arrays_.list[next_++]; }

  jds::Ending ending() {
    const int64_t* numbers = endings_.begin() + 3 * ending_++;
    const jds::Array* scale = numbers[0] ? next() : nullptr;
    const jds::Array* bias = numbers[1] ? next() : nullptr;
    return {scale, bias, static_cast<jds::Activation>(numbers[2])};
  }

 private:
  const Arrays& arrays_;
  Integers endings_;
  size_t next_ = 0, ending_ = 0;
};

// Whether there are so many endings, and as many operands as they and `operands` need.
std::string miscount(const Arrays& arrays, size_t operands, size_t endings, Integers numbers) {
  if (numbers.size() != 3 * endings) return "wrong number of endings";
  for (size_t i = 0; i < endings; ++i) operands += (numbers[3 * i] != 0) + (numbers[3 * i + 1] != 0);
  if (arrays.list.size() == operands + 1) return arrays.wrong;
  return "expected " + std::to_string(operands) + " operands, got " + std::to_string(arrays.list.size() - 1);
}

ffi::Error as_error(const std::string& wrong) {
  return wrong.empty() ? ffi::Error::Success() : ffi::Error::InvalidArgument("jds: " + wrong);
}

ffi::Error depthwise(ffi::ThreadPool pool, ffi::RemainingArgs operands, ffi::Result<ffi::AnyBuffer> result,
                     Integers geometry, Integers endings) {
  const Arrays arrays(operands, result);
  if (const std::string wrong = miscount(arrays, 2, 1, endings); !wrong.empty()) return as_error(wrong);
  Reader reader(arrays, endings);
  const jds::Array *moving = reader.next(), *filter = reader.next();
  const jds::Ending ending = reader.ending();
  XlaThreads threads(pool);
  return as_error(jds::depthwise(*moving, *filter, *reader.next(), {geometry.begin(), geometry.end()}, ending,
                                 threads));
}

using Gradient = std::string (*)(const jds::Array&, const jds::Array&, const jds::Array&, const jds::Geometry&,
                                 jds::Threads&);

template <Gradient gradient>
ffi::Error gradient_of(ffi::ThreadPool pool, ffi::RemainingArgs operands, ffi::Result<ffi::AnyBuffer> result,
                       Integers geometry) {
  const Arrays arrays(operands, result);
  if (const std::string wrong = miscount(arrays, 2, 0, {}); !wrong.empty()) return as_error(wrong);
  XlaThreads threads(pool);
  const auto& list = arrays.list;
  return as_error(gradient(list[0], list[1], list[2], {geometry.begin(), geometry.end()}, threads));
}

ffi::Error separable(ffi::ThreadPool pool, ffi::RemainingArgs operands, ffi::Result<ffi::AnyBuffer> result,
                     Integers geometry, Integers endings) {
  const Arrays arrays(operands, result);
  if (const std::string wrong = miscount(arrays, 3, 2, endings); !wrong.empty()) return as_error(wrong);
  Reader reader(arrays, endings);
  const jds::Array *moving = reader.next(), *filter = reader.next();
  const jds::Ending first = reader.ending();
  const jds::Array* weights = reader.next();
  const jds::Ending second = reader.ending();
  XlaThreads threads(pool);
  return as_error(jds::block(*moving, filter, first, *weights, second, *reader.next(),
                             {geometry.begin(), geometry.end()}, threads));
}

ffi::Error ordinary(ffi::ThreadPool pool, ffi::RemainingArgs operands, ffi::Result<ffi::AnyBuffer> result,
                    Integers geometry, Integers endings) {
  const Arrays arrays(operands, result);
  if (const std::string wrong = miscount(arrays, 2, 1, endings); !wrong.empty()) return as_error(wrong);
  Reader reader(arrays, endings);
  const jds::Array *moving = reader.next(), *weights = reader.next();
  const jds::Ending ending = reader.ending();
  XlaThreads threads(pool);
  return as_error(jds::block(*moving, nullptr, {}, *weights, ending, *reader.next(),
                             {geometry.begin(), geometry.end()}, threads));
}

ffi::Error matrix_product(ffi::ThreadPool pool, ffi::RemainingArgs operands, ffi::Result<ffi::AnyBuffer> result,
                          bool transposed) {
  const Arrays arrays(operands, result);
  if (const std::string wrong = miscount(arrays, 2, 0, {}); !wrong.empty()) return as_error(wrong);
  XlaThreads threads(pool);
  return as_error(jds::matrix_product(arrays.list[0], arrays.list[1], transposed, arrays.list[2], threads));
}

ffi::Error matrix_gradient(ffi::ThreadPool pool, ffi::RemainingArgs operands, ffi::Result<ffi::AnyBuffer> result) {
  const Arrays arrays(operands, result);
  if (const std::string wrong = miscount(arrays, 2, 0, {}); !wrong.empty()) return as_error(wrong);
  XlaThreads threads(pool);
  return as_error(jds::matrix_gradient(arrays.list[0], arrays.list[1], arrays.list[2], threads));
}

auto arrays_only() { return ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().RemainingArgs().Ret<ffi::AnyBuffer>(); }

auto with_geometry() { return arrays_only().Attr<Integers>("geometry"); }

auto with_endings() { return with_geometry().Attr<Integers>("endings"); }

}  // namespace

#pragma GCC visibility push(default)

JDS_HANDLER(jds_depthwise, depthwise, with_endings())
JDS_HANDLER(jds_kernel_gradient, gradient_of<jds::kernel_gradient>, with_geometry())
JDS_HANDLER(jds_grouped_gradient, gradient_of<jds::grouped_gradient>, with_geometry())
JDS_HANDLER(jds_separable, separable, with_endings())
JDS_HANDLER(jds_ordinary, ordinary, with_endings())
JDS_HANDLER(jds_matrix_product, matrix_product, arrays_only().Attr<bool>("transposed"))
JDS_HANDLER(jds_matrix_gradient, matrix_gradient, arrays_only())

// Names of the instruction sets that this machine has, the best first, with spaces between.
extern "C" const char* jds_instruction_sets() { return jds::available_kernels().names; }

extern "C" bool jds_use_instruction_set(const char* name) { return jds::use_kernels(name); }

#pragma GCC visibility pop
