#include "runtime/threads.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <utility>

#include "runtime/memory.h"

namespace jds {
namespace {

// About the time that waking a thread takes.
constexpr int kSpins = 4000;

// The tasks of a phase that one of the threads does first.
struct alignas(64) Share {
  std::atomic<int64_t> next;
  int64_t end;
};

// The first exception of a task.
class Failure {
 public:
  bool is_there() const { return is_there_.load(std::memory_order_relaxed); }

  // Keeps the exception that is being handled, if it is the first.
  void keep() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!error_) error_ = std::current_exception();
    is_there_ = true;
  }

  // Only when all tasks have ended.
  void rethrow() const {
    if (error_) std::rethrow_exception(error_);
  }

 private:
  std::atomic<bool> is_there_{false};
  std::exception_ptr error_;
  std::mutex mutex_;
};

class Progress {
 public:
  Progress(Phase phase, int64_t threads, Failure& failure)
      : phase_(std::move(phase)), shares_(threads), failure_(failure) {
    for (int64_t i = 0; i < threads; ++i) {
      shares_[i].next = phase_.tasks * i / threads;
      shares_[i].end = phase_.tasks * (i + 1) / threads;
    }
  }

  // First this thread's share, neighboring tasks, so that what it wrote in one call is in its cache in the next; then
  // the tasks of other shares that have not begun.
  void work(size_t first) {
    for (size_t i = 0; i < shares_.size(); ++i) {
      Share& share = shares_[(first + i) % shares_.size()];
      for (int64_t mine; (mine = share.next.fetch_add(1)) < share.end;) {
        run(mine);
        if (done_.fetch_add(1) + 1 == phase_.tasks) {
          const std::lock_guard<std::mutex> lock(mutex_);
          finished_.notify_all();
        }
      }
    }
  }

  void wait() {
    for (int spin = 0; spin < kSpins; ++spin) {
      if (done_.load(std::memory_order_acquire) == phase_.tasks) return;
#if defined(__x86_64__)
      __builtin_ia32_pause();
#endif
    }
    std::unique_lock<std::mutex> lock(mutex_);
    finished_.wait(lock, [this] { return done_.load() == phase_.tasks; });
  }

 private:
  // After a failure the remaining tasks are only counted, so that every waiting thread returns.
  void run(int64_t task) {
    if (failure_.is_there()) return;
    try {
      phase_.task(task);
    } catch (...) {
      failure_.keep();
    }
  }

  const Phase phase_;
  std::vector<Share> shares_;
  Failure& failure_;
  std::atomic<int64_t> done_{0};
  std::mutex mutex_;
  std::condition_variable finished_;
};

// Outlives the call: a thread of the pool may start when all is done, and then finds no task.
struct Shared {
  Shared(std::vector<Phase> all, int64_t threads) {
    for (Phase& phase : all) phases.push_back(std::make_unique<Progress>(std::move(phase), threads, failure));
  }

  // Share 0 is the caller's, which also waits for the last phase to end.
  void work(size_t first) {
    for (const auto& phase : phases) {
      phase->work(first);
      if (first == 0 || phase != phases.back()) phase->wait();
    }
  }

  Failure failure;
  std::vector<std::unique_ptr<Progress>> phases;
};

struct Scratch {
  int64_t size = 0;
  std::unique_ptr<float[]> floats;
};

pthread_key_t make_key() {
  pthread_key_t key;
  if (pthread_key_create(&key, [](void* scratch) { delete static_cast<Scratch*>(scratch); }) != 0) {
    throw OutOfMemory(sizeof(Scratch));
  }
  return key;
}

// Not `thread_local`: without memory for one, the C library ends the process.
Scratch& of_this_thread() {
  static const pthread_key_t key = make_key();
  if (void* const scratch = pthread_getspecific(key)) return *static_cast<Scratch*>(scratch);
  auto scratch = std::make_unique<Scratch>();
  if (pthread_setspecific(key, scratch.get()) != 0) throw OutOfMemory(sizeof(Scratch));
  return *scratch.release();
}

}  // namespace

void parallel_for(Threads& threads, std::vector<Phase> phases) {
  int64_t most = 0;
  for (const Phase& phase : phases) most = std::max(most, phase.tasks);
  const int64_t count = std::min(threads.count(), most);
  if (count <= 1) {
    for (const Phase& phase : phases) {
      for (int64_t mine = 0; mine < phase.tasks; ++mine) phase.task(mine);
    }
    return;
  }
  const auto shared = std::make_shared<Shared>(std::move(phases), count);
  try {
    for (int64_t helper = 1; helper < count; ++helper) threads.schedule([shared, helper] { shared->work(helper); });
  } catch (...) {  // no memory to schedule more: this thread and those already scheduled do the work
  }
  shared->work(0);
  shared->failure.rethrow();
}

int64_t number_of_tasks(int64_t products, int64_t units, int64_t threads) {
  if (threads < 2 || products < 2 * kProductsPerTask) return 1;
  return std::max<int64_t>(1, std::min({units, threads * kTasksPerThread, products / kProductsPerTask}));
}

float* thread_scratch(int64_t size) {
  Scratch& scratch = of_this_thread();
  if (scratch.size < size) {
    scratch = {};  // first: there may be no memory for both buffers
    scratch.floats = allocate<float>(size);
    scratch.size = size;
  }
  return scratch.floats.get();
}

}  // namespace jds
