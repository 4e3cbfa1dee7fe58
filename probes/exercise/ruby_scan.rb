# Finds the features that a Ruby application names and that its run did not load.
#
# Reads one JSON object from standard input: `command`, `used` (the files that the run opened), `cwd`. Executes nothing of
# the application: sources are parsed by Ripper, features are looked up along the load path and among the gems. Writes one
# JSON object per line:
#
#     {"do": "setup", "name": "/app/Gemfile"}   the bundle to set up first
#     {"do": "path", "name": "/app/lib"}        an entry of the load path
#     {"do": "feature", "name": "json/ext"}     something to require
#     {"do": "file", "name": "/app/config.ru"}  a file to read
#     {"do": "encoding", "name": "UTF-16LE"}    an encoding to convert to and from
#     {"note": "..."}                           what is made at run time and so not known
require 'json'
require 'rbconfig'
require 'ripper'

MAX_SOURCE = 4 << 20
MAX_FILES = 20_000
# Never loaded while an application works, unless it names them itself.
TOOLS = %w[irb test minitest rspec pry byebug debug bundler rubygems rake rdoc ri racc ruby-prof simplecov power_assert
           typeprof rbs readline reline win32ole].freeze
LOADERS = %w[require require_relative load autoload require_dependency].freeze
# What the interpreter requires by itself when a method or a constant is used, as long as it is no part of it.
IMPLIED = {
  /\bunicode_normalized?\b/ => 'unicode_normalize/normalize',
  /(?<![\w.:])pp[ (]/ => 'pp',
  /(?<![\w:])(?:::)?(?:Sorted)?Set\.new\b|(?<![\w:])(?:::)?Set\[|\.to_set\b/ => 'set'
}.freeze
# Where a text names an encoding; what of it is one, the interpreter knows.
ENCODING = /[A-Za-z][\w.-]*/
ENCODINGS = [
  /\b(?:encode!?|force_encoding|set_encoding(?:_by_bom)?|find|(?:Converter\.new))[ (]+['"](#{ENCODING})['"](?:\s*,\s*['"](#{ENCODING})['"])?/,
  /\b(?:encoding|(?:ex|in)ternal_encoding|charset)(?::|\s*=>?)\s*['"](#{ENCODING})['"](?:)/,
  /['"][rwa]b?t?\+?:(?:BOM\|)?(#{ENCODING})(?::(#{ENCODING}))?['"]/i,
  /\bEncoding::([A-Z]\w*)/
].freeze

class Scan
  def initialize(request)
    @used = request['used'].to_h { |file| [file, true] }
    @queue, @seen, @features, @files, @paths, @notes, @encodings = [], {}, {}, {}, [], [], {}
    @std = %w[rubylibdir rubyarchdir].map { |key| RbConfig::CONFIG[key] + '/' }
    set_up_bundle(request)
    request['used'].each do |file|
      next unless source?(file)
      @queue << file
      next unless kind(file) == :app
      file.scan('/lib/') { @paths |= [$` + '/lib'] }
    end
    @paths.each { |path| $LOAD_PATH.unshift(path) }
  end

  # A bundle restricts the gems to those that it names; the application sets it up first of all.
  def set_up_bundle(request)
    lock = request['used'].find { |file| file.end_with?('/Gemfile.lock', '/gems.locked') }
    return unless lock && request['used'].any? { |file| file.include?('/bundler/') }
    gemfile = lock.sub(/\.lock(ed)?\z/) { $1 ? '.rb' : '' }
    ENV['BUNDLE_GEMFILE'] ||= gemfile
    require 'bundler/setup'
    @setup = ENV['BUNDLE_GEMFILE']
  rescue LoadError, StandardError => error
    @notes << "the bundle cannot be set up: #{error.class}"
  end

  def kind(file)
    return :std if @std.any? { |directory| file.start_with?(directory) } && !file.include?('/gems/')
    file =~ %r{/gems/|/vendor_ruby/|/site_ruby/|/extensions/} ? :gem : :app
  end

  def source?(file)
    return true if file.end_with?('.rb', '.ru')
    return false if File.basename(file).include?('.') || !File.file?(file)
    File.open(file, 'rb') { |script| script.read(128).to_s.lines.first.to_s.match?(/\A#!.*ruby/) }
  rescue SystemCallError
    false
  end

  def run
    until @queue.empty?
      file = @queue.shift
      next if @seen[file] || @seen.size >= MAX_FILES
      @seen[file] = true
      scan(file)
    end
  end

  def scan(file)
    return unless file.end_with?('.rb', '.ru') || source?(file)
    return if File.size(file) > MAX_SOURCE
    text = File.binread(file).force_encoding('UTF-8')
    text = text.sub(/^__END__$.*/m, '')
    # Most sources that load nothing need not be parsed.
    whole_gem(file) if text.include?('Zeitwerk::Loader.for_gem')
    implied(text, file) unless kind(file) == :std
    return unless text.match?(/\b(#{LOADERS.join('|')})\b/)
    walk(Ripper.sexp(text), file)
  rescue SystemCallError, ArgumentError, SystemStackError
    nil
  end

  # What is loaded without a `require`.
  def implied(text, file)
    # A text that is no valid UTF-8 can be a source all the same.
    text = text.scrub('?')
    IMPLIED.each { |use, feature| reach(feature, file) if text.match?(use) }
    ENCODINGS.each do |use|
      text.scan(use).flatten.compact.each do |name|
        name = name.tr('_', '-') unless encoding(name)
        @encodings[encoding(name)] = true if encoding(name)
      end
    end
  end

  def encoding(name)
    found = Encoding.name_list.find { |known| known.casecmp?(name) }
    # These stand for what the surroundings say.
    found unless %w[locale external filesystem internal].include?(found)
  end

  # Its loader finds what lies below the directory of its first source by name.
  def whole_gem(file)
    Dir.glob("#{file.delete_suffix('.rb')}/**/*.rb").sort.each do |each|
      take("#{File.basename(file, '.rb')}#{each.delete_prefix(file.delete_suffix('.rb')).delete_suffix('.rb')}", each, file)
    end
  end

  def walk(root, file)
    stack = [[root, Place.new([], nil, nil)]]
    while (node, place = stack.pop)
      next unless node.is_a?(Array)
      look(node, file, place)
      inner = inside(node, place)
      node.each { |child| stack << [child, inner] if child.is_a?(Array) }
    end
  end

  # Where a call stands: in which modules, and what the blocks around it say of the features that it names by a constant.
  Place = Struct.new(:modules, :under, :at)

  # Where what is in `node` stands.
  def inside(node, place)
    case node[0]
    when :module, :class then Place.new(place.modules + constants(node[1]), nil, nil)
    when :method_add_block
      call = node[1].is_a?(Array) && node[1][0] == :command ? node[1] : []
      case call[1] && call[1][1]
      when 'autoload_under' then Place.new(place.modules, argument(call[2])&.first, place.at)
      when 'autoload_at' then Place.new(place.modules, place.under, argument(call[2])&.first)
      else place
      end
    else place
    end
  end

  # The names of the constants in a path of them, from left to right.
  def constants(node)
    return [] unless node.is_a?(Array)
    return [node[1]] if node[0] == :@const
    node.flat_map { |child| constants(child) }
  end

  def look(node, file, place)
    case node[0]
    when :command then name, arguments = node[1], node[2]
    when :command_call then name, arguments = node[3], node[4]
    when :method_add_arg
      call = node[1]
      return unless call.is_a?(Array)
      name, arguments = call[0] == :fcall ? call[1] : call[3], node[2]
    end
    return unless name.is_a?(Array) && name[0] == :@ident && LOADERS.include?(name[1])
    text, beside = argument(arguments)
    if text.nil?
      by_constant(arguments, place, file) if name[1] == 'autoload'
      @notes << "#{file}:#{name[2][0]}" if kind(file) == :app && !%w[autoload load].include?(name[1])
    elsif name[1] == 'require_relative' || beside
      relative(text, beside == :file ? file : File.dirname(file), file)
    elsif name[1] == 'load' && !text.start_with?('/')
      relative(text, Dir.pwd, file)
    else
      reach(text, file)
    end
  end

  # `autoload :Name` alone (ActiveSupport::Autoload): the feature has the name of the constant in its modules, unless the
  # block around it says another.
  def by_constant(arguments, place, from)
    names = constants(arguments)
    return unless names.size == 1
    feature = place.at || [*place.modules, place.under, *names].compact.join('::').gsub('::', '/')
                                                              .gsub(/([A-Z\d]+)([A-Z][a-z])/, '\1_\2')
                                                              .gsub(/([a-z\d])([A-Z])/, '\1_\2').downcase
    file = resolve(feature)
    return unless file
    # There are many, most of which cannot be required without those before them.
    real = File.realpath(file)
    @queue << real unless @seen[real]
    @files[file] = true unless @used[file] || @used[real]
  rescue SystemCallError
    nil
  end

  # The one literal text among the arguments, and whether it counts from the source's own file or directory.
  def argument(arguments)
    texts, beside, stack = [], nil, [arguments]
    while (node = stack.pop)
      next unless node.is_a?(Array)
      if node[0] == :string_literal
        parts = node[1].is_a?(Array) ? node[1][1..] : []
        return nil unless parts.all? { |part| part.is_a?(Array) && part[0] == :@tstring_content }
        texts << parts.map { |part| part[1] }.join
        next
      end
      beside = :file if node[0] == :@kw && node[1] == '__FILE__'
      beside ||= :directory if node[0] == :@ident && node[1] == '__dir__'
      return nil if node[0] == :@ident && !%w[__dir__ expand_path join dirname require_relative].include?(node[1])
      node.each { |child| stack << child if child.is_a?(Array) }
    end
    texts.size == 1 ? [texts[0], beside] : nil
  end

  def relative(text, base, from)
    path = File.expand_path(text, base)
    file = [path, path + '.rb', path + '.so'].find { |each| File.file?(each) }
    take(file, file, from) if file
  end

  def reach(feature, from)
    return if kind(from) != :app && TOOLS.include?(feature[%r{\A[^/]+}])
    file = resolve(feature)
    take(feature, file, from) if file
  end

  def resolve(feature)
    return [feature, feature + '.rb'].find { |each| File.file?(each) } if feature.start_with?('/')
    found = load_path(feature)
    return found if found
    # What is no longer on the load path of a bundle, the bundle does not have.
    return if @setup
    spec = Gem::Specification.find_by_path(feature)
    return unless spec
    spec.activate
    load_path(feature)
  rescue StandardError, LoadError
    nil
  end

  def load_path(feature)
    names = feature.end_with?('.rb', '.so') ? [feature] : [feature + '.rb', feature + '.so']
    $LOAD_PATH.each do |directory|
      names.each do |name|
        path = File.join(directory.to_s, name)
        return path if File.file?(path)
      end
    end
    nil
  end

  def take(feature, file, from)
    real = File.realpath(file)
    @queue << real unless @seen[real]
    return if @used[file] || @used[real]
    if feature.end_with?('.ru') || (feature.start_with?('/') && !feature.end_with?('.rb', '.so'))
      @files[file] = true
    else
      @features[feature] ||= true
    end
  rescue SystemCallError
    nil
  end

  def report
    say('do' => 'setup', 'name' => @setup) if @setup
    @paths.each { |path| say('do' => 'path', 'name' => path) }
    @features.each_key { |feature| say('do' => 'feature', 'name' => feature) }
    @files.each_key { |file| say('do' => 'file', 'name' => file) }
    @encodings.each_key { |name| say('do' => 'encoding', 'name' => name) }
    return if @notes.empty?
    more = @notes.size > 3 ? " and #{@notes.size - 3} more" : ''
    say('note' => "names of features are made at run time (#{@notes.first(3).join(', ')}#{more}): only a probe can reach those")
  end

  def say(line)
    puts JSON.generate(line)
  rescue JSON::GeneratorError, EncodingError
    nil
  end
end

scan = Scan.new(JSON.parse($stdin.read))
scan.run
scan.report
