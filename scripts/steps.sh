# Steps of a script with their durations, for `source`: `step NAME [BUDGET]` ends the last
# one, and `steps` prints all of them. A budget in seconds is reported, and fails nothing.
step_name="" step_report=()

step() {
    end_step
    step_name=$1 step_budget=${2:-} step_start=$SECONDS
    printf '\n== %s\n' "$step_name"
}

end_step() {
    [ -n "$step_name" ] || return 0
    local took=$((SECONDS - step_start)) line
    line="$took s${step_budget:+ of $step_budget s}"
    [ -z "$step_budget" ] || [ "$took" -le "$step_budget" ] || line+=", over its budget"
    step_report+=("$step_name: $line")
    echo "-- $step_name: $line"
    step_name=""
}

steps() {
    end_step
    printf '\n== durations\n'
    printf '%s\n' "${step_report[@]}" "all: $SECONDS s"
}
