// The handlers that XLA calls, and the functions that Python calls.
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "kernels/kernels.h"
#include "operators/operators.h"
#include "runtime/guard.h"
#include "xla/ffi/api/ffi.h"

namespace {

namespace ffi = xla::ffi;
using Integers = ffi::Span<const int64_t>;
using jds::Status;

// The attributes of a handler. Each has one number per spatial axis.
struct GeometryAttributes {
  Integers long_steps, short_steps, low, moving_steps;
};

// The geometry's, and of each step whether it has a scale and a bias, and its activation.
struct BlockAttributes {
  Integers long_steps, short_steps, low, moving_steps;
  Integers has_scale, has_bias, activation;
  bool has_skip;
};

// Those of two steps without a geometry.
struct EpilogueAttributes {
  Integers has_scale, has_bias, activation;
};

struct TransposedAttribute {
  bool transposed;
};

}  // namespace

#define JDS_GEOMETRY                                                                      \
  StructMember<Integers>("long_steps"), StructMember<Integers>("short_steps"),           \
      StructMember<Integers>("low"), StructMember<Integers>("moving_steps")

XLA_FFI_REGISTER_STRUCT_ATTR_DECODING(GeometryAttributes, JDS_GEOMETRY);
#define JDS_EPILOGUES \
  StructMember<Integers>("has_scale"), StructMember<Integers>("has_bias"), StructMember<Integers>("activation")

XLA_FFI_REGISTER_STRUCT_ATTR_DECODING(BlockAttributes, JDS_GEOMETRY, JDS_EPILOGUES, StructMember<bool>("has_skip"));
XLA_FFI_REGISTER_STRUCT_ATTR_DECODING(EpilogueAttributes, JDS_EPILOGUES);
XLA_FFI_REGISTER_STRUCT_ATTR_DECODING(TransposedAttribute, StructMember<bool>("transposed"));

namespace {

class XlaThreads : public jds::Threads {
 public:
  explicit XlaThreads(ffi::ThreadPool& pool) : pool_(pool), count_(pool.num_threads()) {}
  int64_t count() const override { return count_; }
  void schedule(std::function<void()> work) override { pool_.Schedule(std::move(work)); }

 private:
  ffi::ThreadPool& pool_;
  int64_t count_;
};

Status read_type(ffi::DataType from, jds::Type& to) {
  switch (from) {
    case ffi::DataType::F32: to = jds::Type::kFloat32; return {};
    case ffi::DataType::BF16: to = jds::Type::kBFloat16; return {};
    case ffi::DataType::F16: to = jds::Type::kFloat16; return {};
    default: return jds::invalid("the CPU kernels compute float32, bfloat16 and float16 only");
  }
}

// One call: its arrays, the result last, which are taken in their order, and its threads.
class Call {
 public:
  explicit Call(jds::Threads& threads) : threads(threads) {}

  Status add(const ffi::AnyBuffer& buffer) {
    jds::Type type;
    if (Status status = read_type(buffer.element_type(), type); !status.ok()) return status;
    const ffi::AnyBuffer::Dimensions dims = buffer.dimensions();
    arrays_.push_back({type, std::vector<int64_t>(dims.begin(), dims.end()), buffer.untyped_data()});
    return {};
  }

  // Checks the number of operands.
  Status expect(int64_t operands) const {
    const int64_t got = static_cast<int64_t>(arrays_.size()) - 1;
    if (got == operands) return {};
    return jds::invalid("expected " + std::to_string(operands) + " operands, got " + std::to_string(got));
  }

  const jds::Array& next() { return arrays_[next_++]; }

  jds::Threads& threads;

 private:
  std::vector<jds::Array> arrays_;
  size_t next_ = 0;
};

template <class Attributes>
Status read_geometry(const Attributes& attributes, jds::Geometry& geometry) {
  for (const Integers& numbers : {attributes.long_steps, attributes.short_steps, attributes.low,
                                  attributes.moving_steps}) {
    if (numbers.size() == geometry.size()) continue;
    return jds::invalid("each attribute of the geometry must have 3 numbers, got " + std::to_string(numbers.size()));
  }
  for (size_t axis = 0; axis < geometry.size(); ++axis) {
    geometry[axis] = {.long_step = attributes.long_steps[axis],
                      .short_step = attributes.short_steps[axis],
                      .low = attributes.low[axis],
                      .moving_step = attributes.moving_steps[axis]};
  }
  return {};
}

// Checks that there are attributes for `steps` steps, and the arrays that they and the kernels need, and `more`.
template <class Attributes>
Status expect_steps(const Call& call, const Attributes& attributes, size_t steps, bool more) {
  int64_t operands = static_cast<int64_t>(steps) + 1 + more;
  for (const Integers& numbers : {attributes.has_scale, attributes.has_bias, attributes.activation}) {
    if (numbers.size() != steps) {
      return jds::invalid("each attribute of the epilogues must have " + std::to_string(steps) + " numbers, got " +
                          std::to_string(numbers.size()));
    }
  }
  for (size_t step = 0; step < steps; ++step) {
    operands += (attributes.has_scale[step] != 0) + (attributes.has_bias[step] != 0);
  }
  return call.expect(operands);
}

// Takes the arrays of the epilogue of a step.
template <class Attributes>
jds::EpilogueArrays next_epilogue(Call& call, const Attributes& attributes, size_t step) {
  const jds::Array* scale = attributes.has_scale[step] ? &call.next() : nullptr;
  const jds::Array* bias = attributes.has_bias[step] ? &call.next() : nullptr;
  return {scale, bias, static_cast<jds::Activation>(attributes.activation[step])};
}

using Convolution = Status (*)(const jds::Array&, const jds::Array&, const jds::Array&, const jds::Geometry&,
                               jds::Threads&);

template <Convolution operation>
Status convolution(Call& call, const GeometryAttributes& attributes) {
  if (Status status = call.expect(2); !status.ok()) return status;
  jds::Geometry geometry;
  if (Status status = read_geometry(attributes, geometry); !status.ok()) return status;
  const jds::Array &left = call.next(), &right = call.next();
  return operation(left, right, call.next(), geometry, call.threads);
}

Status depthwise(Call& call, const BlockAttributes& attributes) {
  if (Status status = expect_steps(call, attributes, 1, attributes.has_skip); !status.ok()) return status;
  jds::Geometry geometry;
  if (Status status = read_geometry(attributes, geometry); !status.ok()) return status;
  const jds::Array &moving = call.next(), &filter = call.next();
  const jds::EpilogueArrays epilogue = next_epilogue(call, attributes, 0);
  const jds::Array* skip = attributes.has_skip ? &call.next() : nullptr;
  return jds::depthwise(moving, filter, epilogue, skip, call.next(), geometry, call.threads);
}

Status separable(Call& call, const BlockAttributes& attributes) {
  if (Status status = expect_steps(call, attributes, 2, attributes.has_skip); !status.ok()) return status;
  jds::Geometry geometry;
  if (Status status = read_geometry(attributes, geometry); !status.ok()) return status;
  const jds::Array &moving = call.next(), &filter = call.next();
  const jds::EpilogueArrays first = next_epilogue(call, attributes, 0);
  const jds::Array& weights = call.next();
  const jds::EpilogueArrays second = next_epilogue(call, attributes, 1);
  const jds::Array* skip = attributes.has_skip ? &call.next() : nullptr;
  return jds::block(moving, &filter, first, weights, second, skip, call.next(), geometry, call.threads);
}

Status ordinary(Call& call, const BlockAttributes& attributes) {
  if (Status status = expect_steps(call, attributes, 1, attributes.has_skip); !status.ok()) return status;
  jds::Geometry geometry;
  if (Status status = read_geometry(attributes, geometry); !status.ok()) return status;
  const jds::Array &moving = call.next(), &weights = call.next();
  const jds::EpilogueArrays epilogue = next_epilogue(call, attributes, 0);
  const jds::Array* skip = attributes.has_skip ? &call.next() : nullptr;
  return jds::block(moving, nullptr, {}, weights, epilogue, skip, call.next(), geometry, call.threads);
}

Status mean(Call& call, const ffi::Dictionary&) {
  if (Status status = call.expect(1); !status.ok()) return status;
  const jds::Array& images = call.next();
  return jds::mean(images, call.next(), call.threads);
}

Status squeeze_excite(Call& call, const EpilogueAttributes& attributes) {
  if (Status status = expect_steps(call, attributes, 2, false); !status.ok()) return status;
  const jds::Array &images = call.next(), &squeeze = call.next();
  const jds::EpilogueArrays first = next_epilogue(call, attributes, 0);
  const jds::Array& excite = call.next();
  const jds::EpilogueArrays second = next_epilogue(call, attributes, 1);
  return jds::squeeze_excite(images, squeeze, first, excite, second, call.next(), call.threads);
}

Status matrix_product(Call& call, const TransposedAttribute& attributes) {
  if (Status status = call.expect(2); !status.ok()) return status;
  const jds::Array &left = call.next(), &right = call.next();
  return jds::matrix_product(left, right, attributes.transposed, call.next(), call.threads);
}

Status matrix_gradient(Call& call, const ffi::Dictionary&) {
  if (Status status = call.expect(2); !status.ok()) return status;
  const jds::Array &left = call.next(), &right = call.next();
  return jds::matrix_gradient(left, right, call.next(), call.threads);
}

ffi::Error as_error(const Status& status) {
  return status.ok() ? ffi::Error::Success() : ffi::Error::InvalidArgument("jds: " + *status.error);
}

// What XLA calls for an operation: reads the arrays and runs it.
template <class Attributes>
auto handler_of(Status (*operation)(Call&, const Attributes&)) {
  return [operation](ffi::ThreadPool pool, ffi::RemainingArgs operands, ffi::Result<ffi::AnyBuffer> result,
                     const Attributes& attributes) {
    XlaThreads threads(pool);
    Call call(threads);
    for (size_t i = 0; i < operands.size(); ++i) {
      const auto operand = operands.get<ffi::AnyBuffer>(i);
      if (!operand.has_value()) return operand.error();
      if (Status status = call.add(*operand); !status.ok()) return as_error(status);
    }
    if (Status status = call.add(*result); !status.ok()) return as_error(status);
    return as_error(operation(call, attributes));
  };
}

template <class Attributes>
auto binding_of(Status (*)(Call&, const Attributes&)) {
  return ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().RemainingArgs().Ret<ffi::AnyBuffer>().Attrs<Attributes>();
}

}  // namespace

#define JDS_HANDLERS(HANDLER)                                       \
  HANDLER(jds_depthwise, depthwise)                                 \
  HANDLER(jds_kernel_gradient, convolution<jds::kernel_gradient>)   \
  HANDLER(jds_grouped_gradient, convolution<jds::grouped_gradient>) \
  HANDLER(jds_matrix_product, matrix_product)                       \
  HANDLER(jds_matrix_gradient, matrix_gradient)                     \
  HANDLER(jds_separable, separable)                                 \
  HANDLER(jds_ordinary, ordinary)                                   \
  HANDLER(jds_mean, mean)                                           \
  HANDLER(jds_squeeze_excite, squeeze_excite)

#define JDS_DEFINE(name, operation) JDS_HANDLER(name, handler_of(operation), binding_of(operation))
#define JDS_NAME(name, operation) "\"" #name "\", "

#pragma GCC visibility push(default)

JDS_HANDLERS(JDS_DEFINE)

// Names of the instruction sets that this machine has, the best first, separated by spaces.
extern "C" const char* jds_instruction_sets() { return jds::kernel_names().c_str(); }

extern "C" bool jds_use_instruction_set(const char* name) { return jds::use_kernels(name); }

// As JSON, the constants that Python has too, which it compares when it loads the library, and the activations in the
// order of their numbers.
extern "C" const char* jds_constants() {
  static const std::string json = [] {
    std::string names, targets = JDS_HANDLERS(JDS_NAME) "";
    for (const char* name : jds::kActivationNames) names += (names.empty() ? "\"" : ", \"") + std::string(name) + "\"";
    targets.resize(targets.size() - 2);
    return "{\"max_taps\": " + std::to_string(jds::kMaxTaps) +
           ", \"max_contracted_features\": " + std::to_string(jds::kMaxContractedFeatures) + ", \"activations\": [" +
           names + "], \"targets\": [" + targets + "]}";
  }();
  return json.c_str();
}

#pragma GCC visibility pop
