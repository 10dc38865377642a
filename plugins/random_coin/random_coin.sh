#!/bin/sh
# Prints a uniform and a gaussian random number, in Scalyr's format. The standard normal number is the sum of twelve uniform
# ones, less six.
exec awk -v mean="${KEVMON_SETTING_gauss_mean:-0.5}" -v deviation="${KEVMON_SETTING_gauss_stddev:-0.25}" '
BEGIN {
    "od -An -N4 -tu4 /dev/urandom" | getline seed
    srand(seed)
    for (i = 0; i < 12; i++) sum += rand()
    printf "uniform %.9f\n", rand()
    printf "gauss %.9f\n", mean + deviation * (sum - 6)
}'
