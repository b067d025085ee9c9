# SPDX-License-Identifier: Apache-2.0
# cmake -DCOMPILER=… "-DFLAGS=-I…;…" -DSOURCE=compositions.cpp -P check.cmake: compiles the source,
# which must fail, and looks for every sentence that it expects among the messages.
execute_process(COMMAND ${COMPILER} -std=c++20 -fsyntax-only ${FLAGS} ${SOURCE}
                RESULT_VARIABLE result OUTPUT_VARIABLE messages ERROR_VARIABLE messages)
if(result EQUAL 0)
    message(FATAL_ERROR "${SOURCE} compiles, but nothing in it makes sense")
endif()
file(STRINGS ${SOURCE} expectations REGEX "^// expect: ")
list(LENGTH expectations count)
if(count EQUAL 0)
    message(FATAL_ERROR "${SOURCE} expects nothing")
endif()
# A compiler may print a long literal with the quotation marks of its pieces.
string(REPLACE "\" \"" "" messages "${messages}")
foreach(expectation IN LISTS expectations)
    string(REPLACE "// expect: " "" sentence "${expectation}")
    string(FIND "${messages}" "${sentence}" place)
    if(place EQUAL -1)
        message(SEND_ERROR "no message says: ${sentence}")
    endif()
endforeach()
