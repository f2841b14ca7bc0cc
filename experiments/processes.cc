#include <mollify/experiments/processes.h>

#include <mollify/engine/error.h>

#include <algorithm>
#include <cstdlib>
#include <exception>

#ifdef MOLLIFY_MPI
#include <mpi.h>
#endif

namespace mollify::experiments {
namespace {

#ifdef MOLLIFY_MPI

class OverMpi final : public smoothing::Exchange {
 public:
  OverMpi() {
    MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
    MPI_Comm_size(MPI_COMM_WORLD, &count_);
  }
  int64_t rank() const override { return rank_; }
  int64_t count() const override { return count_; }
  void gather(const void* mine, int64_t bytes, void* all) const override {
    const auto size = static_cast<int>(bytes);
    require<Error>(size == bytes, "mpi: {} bytes of a process; at most 2^31 are exchanged at once", bytes);
    const int status = MPI_Allgather(mine, size, MPI_BYTE, all, size, MPI_BYTE, MPI_COMM_WORLD);
    require<Error>(status == MPI_SUCCESS, "mpi: the processes could not exchange {} bytes (status {})", bytes, status);
  }

 private:
  int rank_ = 0, count_ = 1;
};

bool started_by_mpirun() {
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMIX_RANK"})
    if (std::getenv(name)) return true;
  return false;
}

#endif

}  // namespace

Processes& Processes::all() {
  static Processes processes;
  return processes;
}

Processes::Processes() {
#ifdef MOLLIFY_MPI
  if (!started_by_mpirun()) return;
  int provided = 0;
  MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided);
  const auto exchange = std::make_shared<OverMpi>();
  rank_ = exchange->rank();
  count_ = exchange->count();
  if (count_ > 1) exchange_ = exchange;
#endif
}

void Processes::require_same(const std::string& what, const std::string& bytes) const {
  if (!exchange_) return;
  const size_t here = std::hash<std::string>()(bytes);
  std::vector<size_t> all(static_cast<size_t>(count_));
  exchange_->gather(&here, sizeof here, all.data());
  for (int64_t other = 1; other < count_; ++other)
    require<Error>(all[static_cast<size_t>(other)] == all[0], "{}: those of process {} differ from the first one's",
                   what, other);
}

bool Processes::any(bool here) const {
  if (!exchange_) return here;
  const char mine = here;
  std::string all(static_cast<size_t>(count_), '\0');
  exchange_->gather(&mine, 1, all.data());
  return all.find('\1') != std::string::npos;
}

std::vector<std::string> Processes::gather(const std::string& bytes) const {
  if (!exchange_) return {bytes};
  const auto size = static_cast<int64_t>(bytes.size());
  std::vector<int64_t> sizes(static_cast<size_t>(count_));
  exchange_->gather(&size, sizeof size, sizes.data());
  const int64_t most = *std::max_element(sizes.begin(), sizes.end());
  std::string mine = bytes, all(static_cast<size_t>(most * count_), '\0');
  mine.resize(static_cast<size_t>(most));
  exchange_->gather(mine.data(), most, all.data());
  std::vector<std::string> each;
  for (int64_t rank = 0; rank < count_; ++rank)
    each.push_back(all.substr(static_cast<size_t>(rank * most), static_cast<size_t>(sizes[static_cast<size_t>(rank)])));
  return each;
}

void Processes::first_does(const std::function<void()>& work) const {
  std::exception_ptr fault;
  try {
    if (is_first()) work();
  } catch (...) { fault = std::current_exception(); }
  const bool failed = any(fault != nullptr);
  if (fault) std::rethrow_exception(fault);
  require<ValueError>(!failed, "the first process failed, which says why");
}

void Processes::wait() const { any(false); }

void Processes::leave(bool together) {
#ifdef MOLLIFY_MPI
  int running = 0, over = 0;
  MPI_Initialized(&running);
  MPI_Finalized(&over);
  if (!running || over) return;
  if (together)
    MPI_Finalize();
  else
    MPI_Abort(MPI_COMM_WORLD, 1);
#else
  (void)together;
#endif
}

}  // namespace mollify::experiments
