#!/bin/sh
# Prints a uniform and a gaussian random number, in Scalyr's format. The standard normal number is the sum of twelve uniform
# ones, less six. All of them come from the kernel: awk's own generator is seeded differently by each awk, and by some with
# the same seed each time.
exec awk -v mean="${KEVMON_SETTING_gauss_mean:-0.5}" -v deviation="${KEVMON_SETTING_gauss_stddev:-0.25}" '
BEGIN {
    source = "od -An -v -N52 -tu4 /dev/urandom"
    while ((source | getline) > 0)
        for (field = 1; field <= NF; field++) number[++count] = $field / 4294967296
    close(source)  # and wait for its end
    if (count != 13) { print "od gave " count " numbers, not 13" > "/dev/stderr"; exit 1 }
    for (i = 2; i <= 13; i++) sum += number[i]
    printf "uniform %.9f\n", number[1]
    printf "gauss %.9f\n", mean + deviation * (sum - 6)
}'
