// cpp-httplib's server with connections of our own: a deadline for each request's header and body, whatever the pace of
// its bytes; a thread for each connection up to a limit, beyond which the slowest sender goes; a long queue of
// connections; bodies of any content type up to one limit; and a way to ask whether a client has left.
#pragma once

#include <httplib.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <list>
#include <mutex>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>

namespace tools {

struct endpoint_limits {
    std::size_t connections = 512;                // served at once; others wait
    std::size_t body = std::size_t{16} << 20;     // bytes
    std::chrono::milliseconds request{30000};     // for all of a request's header and body
    std::chrono::milliseconds idle{5000};         // between two requests of a connection
    std::chrono::milliseconds answer{60000};      // for a client to take an answer
    std::chrono::milliseconds stop{1500};         // after stop_gently(), for requests that are still being sent
    std::chrono::milliseconds last_answer{3500};  // and for clients to take their answers
};

class http_endpoint : public httplib::Server {
public:
    using clock = std::chrono::steady_clock;

    explicit http_endpoint(const endpoint_limits& limits) : limits_(limits) {
        set_payload_max_length(limits.body);
        set_keep_alive_timeout(std::chrono::duration_cast<std::chrono::seconds>(limits.idle).count());
        new_task_queue = [this] { return new connection_threads(*this); };
    }

    /// A longer queue of connections that nobody has accepted yet; httplib's own holds 5. After binding.
    bool lengthen_queue() { return ::listen(svr_sock_, 4096) == 0; }

    /// No new connections or requests; those that are being answered are, those still being sent have a moment.
    void stop_gently() {
        stopping_at_ = clock::now().time_since_epoch().count();
        stopping_ = true;
        ::shutdown(svr_sock_, SHUT_RDWR);  // ends accept(); stop() would end answers in parts, too
    }

    /// Whether the client of the request that this thread answers has closed its connection; from any thread, until the
    /// request is answered. One that closed only its sending half still reads, and is answered.
    static std::function<bool()> client_left() {
        connection* peer = current_peer();
        return [peer] { return peer->left(); };
    }

    /// Handlers say by this that they answer without having read the body; the connection ends then.
    static void skip_body() {
        if (current_peer()) current_peer()->leave();
    }
    /// Handlers say by this that they answer little by little: the client's time to take an answer begins anew with
    /// every part.
    static void answer_in_parts() {
        if (current_peer()) current_peer()->answer_in_parts();
    }
    /// Handlers say by this that the request of their thread is whole.
    static void request_read() {
        if (current_peer()) current_peer()->request_read();
    }

    /// The body of a request into `body`; else the status that says why not.
    int read_body(const httplib::ContentReader& reader, const httplib::Response& response, std::string& body) const {
        bool large = false;
        const bool whole = reader([&](const char* data, std::size_t bytes) {
            large = body.size() + bytes > limits_.body;
            if (!large) body.append(data, bytes);
            return !large;
        });
        if (!whole && current_peer()) current_peer()->leave();  // what is left of it is no request
        if (large || response.status == 413) return 413;
        return whole ? 200 : response.status >= 400 ? response.status : 400;
    }

private:
    /// One connection, as a stream of httplib's.
    class connection final : public httplib::Stream {
    public:
        connection(const http_endpoint& server, int socket) : server_(server), socket_(socket), begun_(clock::now()) {}

        bool is_readable() const override { return true; }
        bool is_writable() const override { return true; }
        int socket() const override { return socket_; }
        void get_remote_ip_and_port(std::string& ip, int& port) const override { ip.clear(), port = 0; }
        void get_local_ip_and_port(std::string& ip, int& port) const override { ip.clear(), port = 0; }

        ssize_t read(char* to, std::size_t size) override {
            if (next_ == held_) {
                if (!wait(POLLIN, deadline_)) return -1;
                const ssize_t count = ::recv(socket_, buffer_, sizeof buffer_, 0);
                if (count <= 0) return count;
                next_ = 0, held_ = static_cast<std::size_t>(count);
            }
            const std::size_t count = std::min(size, held_ - next_);
            std::copy(buffer_ + next_, buffer_ + next_ + count, to);
            next_ += count;
            return static_cast<ssize_t>(count);
        }
        ssize_t write(const char* from, std::size_t size) override {
            const std::size_t sent = begin_answer(from, size);
            if (sent > 0) return static_cast<ssize_t>(sent);
            if (in_parts_ || answer_by_ == clock::time_point::max()) answer_by_ = clock::now() + server_.limits_.answer;
            for (;;) {
                if (!wait(POLLOUT, answer_by_)) return -1;
                const ssize_t count = ::send(socket_, from, size, MSG_NOSIGNAL | MSG_DONTWAIT);
                if (count >= 0 || (errno != EAGAIN && errno != EINTR)) return count;
            }
        }

        /// Whether nobody reads any more. An end of what the client sends may be that of half the connection, so that
        /// the first bytes of every answer are sent at once: a closed connection replies with a reset.
        bool left() {
            pollfd one{socket_, POLLRDHUP, 0};
            if (::poll(&one, 1, 0) <= 0) return false;
            if ((one.revents & (POLLHUP | POLLERR | POLLNVAL)) != 0) return true;
            const std::lock_guard lock(answer_guard_);
            if (!answering_ && early_ == 0) {
                const ssize_t count =
                    ::send(socket_, answer_start.data(), answer_start.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
                if (count > 0) early_ = static_cast<std::size_t>(count);
            }
            return false;
        }

        /// Waits for a request's first byte; false when there is none in time.
        bool next_request() {
            answering_ = false, early_ = 0;
            begun_ = clock::now(), reading_ = true, in_parts_ = false;
            if (next_ == held_ && !wait(POLLIN, clock::now() + server_.limits_.idle, true)) return false;
            deadline_ = clock::now() + server_.limits_.request;
            answer_by_ = clock::time_point::max();
            return true;
        }
        /// The request is whole. The time for its answer begins with the answer's first byte.
        void request_read() { reading_ = false, answer_by_ = clock::time_point::max(); }

        void answer_in_parts() { in_parts_ = true; }

        /// No further request on this connection.
        void leave() { leaving_ = true; }
        bool leaving() const { return leaving_; }
        /// Reads what a client still sends, for a moment: closing on it would lose the answer.
        void drain() const {
            ::shutdown(socket_, SHUT_WR);
            const auto end = clock::now() + std::chrono::seconds(1);
            char rest[4096];
            while (clock::now() < end && wait(POLLIN, end) && ::recv(socket_, rest, sizeof rest, 0) > 0) {}
        }

        bool reading() const { return reading_; }
        clock::time_point begun() const { return begun_; }
        void drop() {
            reading_ = false;
            ::shutdown(socket_, SHUT_RDWR);
        }

    private:
        static constexpr std::string_view answer_start = "HTTP/1.1 ";

        /// How many of an answer's first bytes `left` has sent already, at its beginning; else 0.
        std::size_t begin_answer(const char* from, std::size_t size) {
            const std::lock_guard lock(answer_guard_);
            answering_ = true;
            const std::size_t sent = std::min(std::exchange(early_, 0), size);
            return std::string_view(from, sent) == answer_start.substr(0, sent) ? sent : 0;
        }

        bool wait(short events, clock::time_point until, bool idle = false) const {
            for (;;) {
                auto end = until;
                if (server_.stopping_ && events == POLLIN)
                    end = std::min(end, idle ? clock::now() : server_.stopping_time() + server_.limits_.stop);
                if (server_.stopping_ && events == POLLOUT)
                    end = std::min(end, server_.stopping_time() + server_.limits_.last_answer);
                pollfd one{socket_, events, 0};
                const int found = ::poll(&one, 1, 0);
                if (found > 0) return (one.revents & (POLLNVAL)) == 0;
                if (found < 0 && errno != EINTR) return false;
                const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - clock::now()).count();
                if (left <= 0) return false;
                ::poll(&one, 1, static_cast<int>(std::min<std::int64_t>(left, 100)));
            }
        }

        const http_endpoint& server_;
        const int socket_;
        std::atomic<clock::time_point> begun_;
        std::atomic<bool> reading_{true};
        bool leaving_ = false, in_parts_ = false;
        std::mutex answer_guard_;
        bool answering_ = false;  // its first bytes are under way
        std::size_t early_ = 0;   // of them, sent by left()
        clock::time_point deadline_ = clock::time_point::max(), answer_by_ = clock::time_point::max();
        char buffer_[4096];
        std::size_t next_ = 0, held_ = 0;
    };

    /// A thread for every connection up to the limit. Beyond it connections wait, and room is made for them.
    class connection_threads final : public httplib::TaskQueue {
    public:
        explicit connection_threads(http_endpoint& server) : server_(server) {}

        void enqueue(std::function<void()> serve) override {
            const std::lock_guard lock(guard_);
            waiting_.push_back(std::move(serve));
            if (waiting_.size() > idle_ && threads_.size() < server_.limits_.connections) {
                try {
                    threads_.emplace_back([this] { work(); });
                } catch (const std::system_error&) {  // no more threads: this one waits for another
                }
            }
            if (waiting_.size() > idle_ && threads_.size() >= server_.limits_.connections) server_.drop_slowest();
            arrived_.notify_one();
        }
        void shutdown() override {
            {
                const std::lock_guard lock(guard_);
                stopping_ = true;
            }
            arrived_.notify_all();
            for (auto& thread : threads_) thread.join();
        }

    private:
        void work() {
            std::unique_lock lock(guard_);
            for (;;) {
                ++idle_;
                arrived_.wait(lock, [&] { return stopping_ || !waiting_.empty(); });
                --idle_;
                if (waiting_.empty()) return;
                const auto serve = std::move(waiting_.front());
                waiting_.pop_front();
                lock.unlock();
                serve();
                lock.lock();
            }
        }

        http_endpoint& server_;
        std::mutex guard_;
        std::condition_variable arrived_;
        std::deque<std::function<void()>> waiting_;
        std::list<std::thread> threads_;
        std::size_t idle_ = 0;
        bool stopping_ = false;
    };

    bool process_and_close_socket(int socket) override {
        connection peer(*this, socket);
        {
            const std::lock_guard lock(guard_);
            peers_.push_back(&peer);
        }
        current_peer() = &peer;
        bool good = true, closed = false;
        while (good && !closed && !peer.leaving() && peer.next_request())
            good = process_request(peer, stopping_, closed, nullptr);
        if (peer.leaving()) peer.drain();
        {
            const std::lock_guard lock(guard_);
            peers_.remove(&peer);
        }
        ::shutdown(socket, SHUT_RDWR);
        ::close(socket);
        return good;
    }

    /// Ends the connection whose request has been on its way the longest.
    void drop_slowest() {
        const std::lock_guard lock(guard_);
        connection* slowest = nullptr;
        for (connection* one : peers_)
            if (one->reading() && (!slowest || one->begun() < slowest->begun())) slowest = one;
        if (slowest) slowest->drop();
    }

    clock::time_point stopping_time() const { return clock::time_point(clock::duration(stopping_at_)); }
    static connection*& current_peer() {
        thread_local connection* peer = nullptr;
        return peer;
    }

    endpoint_limits limits_;
    std::atomic<bool> stopping_{false};
    std::atomic<clock::rep> stopping_at_{0};
    std::mutex guard_;
    std::list<connection*> peers_;
};

}  // namespace tools
