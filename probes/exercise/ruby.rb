# Requires features, each in a process of its own, so that what they load is seen and none spoils another.
#
# Reads lines of two fields, separated by a tab: `setup` a bundle, `path` an entry of the load path, `feature` something to
# require, `file` a file to read, `encoding` one to convert to and from. Writes one JSON object per line: {"item": "feature x",
# "ok": true}. Requires nothing for itself: what this script loads would count as used.
#
# What is too long is told by the processor, not by the clock: a busy machine must not make another set of features.
LIMIT = 5 # seconds of the processor for one feature; also how long it may do nothing at all
PATIENCE = 60 # seconds for one feature, however little it gets of the processor
TOTAL = 300 # seconds of the processor after which none is begun
PROGRESS = 0.01 # seconds of the processor that are more than nothing
REPORT = $stdout.dup
$stdout.reopen($stderr)
REPORT.sync = true

def report(item, error = nil, late: false, untried: false)
  text = ->(value) { value.encode('UTF-8', invalid: :replace, undef: :replace)[0, 300].dump.gsub(/\\x|\\e|\\a|\\v|\\#/, '?') }
  ending = error ? "false, \"error\": #{text[error]}" : 'true'
  ending += ', "late": true' if late
  ending += ', "untried": true' if untried
  REPORT.write("{\"item\": #{text[item]}, \"ok\": #{ending}}\n")
end

# The processor time of a process (`CPUCLOCK_SCHED` of linux/posix-timers.h).
def spent(pid)
  Process.clock_gettime((~pid << 3) | 2)
rescue SystemCallError
  0.0
end

# Requires a feature in a new process. Returns what was loaded, or nil, and why, and whether it took too long.
def attempt(feature)
  reader, writer = IO.pipe
  pid = Process.fork do
    reader.close
    Process.setsid
    begin
      Process.setrlimit(:CPU, LIMIT, LIMIT + 1)
    rescue SystemCallError
      # There is a lower limit already.
    end
    before = $LOADED_FEATURES.size
    answer = begin
      require feature
      'ok' + "\0" + $LOADED_FEATURES.drop(before).join("\0")
    rescue Exception => error # rubocop:disable Lint/RescueException
      "#{error.class}: #{error.message}"
    end
    writer.write(answer)
    writer.close
    exit!(0)
  end
  writer.close
  late = false
  guard = Thread.new do
    before = spent(pid)
    (PATIENCE / LIMIT).times do
      sleep LIMIT
      now = spent(pid)
      break if now - before < PROGRESS
      before = now
    end
    late = true
    Process.kill(:KILL, -pid)
  end
  answer = reader.read
  guard.kill
  _, status = Process.wait2(pid)
  late ||= status.termsig == Signal.list['XCPU']
  first, *loaded = answer.split("\0")
  return [loaded, nil, false] if first == 'ok'
  [nil, late ? "it did not end within #{LIMIT} s" : first || 'its process ended', late]
end

lines = $stdin.read.split("\n").map { |line| line.split("\t", 2) }
features = []
lines.each do |kind, name|
  case kind
  when 'setup'
    ENV['BUNDLE_GEMFILE'] = name
    require 'bundler/setup'
  when 'path' then $LOAD_PATH.unshift(name)
  when 'feature' then features << name
  when 'encoding'
    begin
      Encoding.find(name)
      [[name, 'UTF-8'], ['UTF-8', name]].each do |from, to|
        Encoding::Converter.new(from, to)
      rescue Encoding::ConverterNotFoundError
        # There are encodings that nothing converts.
      end
      report("encoding #{name}")
    rescue StandardError, LoadError => error
      report("encoding #{name}", error.message)
    end
  when 'file'
    begin
      File.open(name, &:close)
      report("file #{name}")
    rescue SystemCallError => error
      report("file #{name}", error.message)
    end
  end
end

done = {}
features.each do |feature|
  item = "feature #{feature}"
  base = feature.sub(/\.(rb|so)\z/, '')
  ends = base.start_with?('/') ? [base + '.rb', base + '.so'] : ["/#{base}.rb", "/#{base}.so"]
  if done.each_key.any? { |path| path.end_with?(*ends) }
    # Something before it has required it, in its process.
    report(item)
  elsif Process.times.cutime + Process.times.cstime > TOTAL
    report(item, 'there was no time left', late: true, untried: true)
  else
    loaded, error, late = attempt(feature)
    if loaded.nil?
      report(item, error, late: late)
    else
      loaded.each { |path| done[path] = true }
      report(item)
    end
  end
end
