# SPDX-License-Identifier: Apache-2.0
# Writes each fenced ```cpp block that holds a main to <page>_<number>.cpp in the current folder.
FNR == 1 {
    count = 0
    inside = 0
    name = FILENAME
    sub(/.*\//, "", name)
    sub(/\.md$/, "", name)
}
!inside && /^```cpp[ \t]*$/ { inside = 1; text = ""; next }
inside && /^```/ {
    inside = 0
    if (text ~ /int main\(/) {
        file = name "_" ++count ".cpp"
        printf "%s", text > file
        close(file)
    }
    next
}
inside { text = text $0 "\n" }
