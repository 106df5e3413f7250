// What went wrong on the way to an answer, in words for a person.
#pragma once

#include <boost/system/error_code.hpp>
#include <string>

namespace outrider::net {

std::string failure_words(const boost::system::error_code& error);

}  // namespace outrider::net
