#include "net/failure.h"

#include <boost/asio/error.hpp>
#include <boost/asio/ssl/error.hpp>
#include <boost/beast/http/error.hpp>

namespace outrider::net {

namespace asio = boost::asio;
namespace http = boost::beast::http;

std::string failure_words(const boost::system::error_code& error) {
  if (error == asio::error::eof || error == http::error::partial_message ||
      error == http::error::end_of_stream || error == asio::ssl::error::stream_truncated) {
    return "connection closed before the answer was complete";
  }
  if (error.category() == http::make_error_code(http::error::bad_version).category())
    return "answer is not HTTP";
  return error.message();
}

}  // namespace outrider::net
