//! The exerciser of the Java virtual machine: a class that calls static methods by their names.
//!
//! A run time without a compiler runs only class files, and nothing but sources is kept here, so the class is written
//! from this file. It is what this source would be compiled to:
//!
//! ```java
//! public final class ScrimpExercise {
//!     public static void main(String[] args) {
//!         for (String item : args) {
//!             try {
//!                 String[] parts = item.split("#");
//!                 Class<?> type = Class.forName(parts[0]);
//!                 if (parts.length > 1) type.getMethod(parts[1]).invoke(null);
//!                 System.out.println("{\"item\": \"call " + item + "\", \"ok\": true}");
//!             } catch (Throwable cause) {
//!                 System.out.println("... false, \"error\": \"" + cause.getClass().getName() + "\"}");
//!             }
//!         }
//!         System.exit(0);
//!     }
//! }
//! ```
//!
//! Version 49 of the format (Java 5) is the last that needs no stack maps, and every virtual machine since then takes
//! it (The Java Virtual Machine Specification, chapter 4).

use crate::probe::exercise::report::{Findings, Item};

/// The name of the class.
pub const CLASS: &str = "ScrimpExercise";
/// Where its file is in the sandbox.
pub const DIRECTORY: &str = "/run/scrimp-exercise";

/// What is called, from the shipped list.
pub fn findings() -> Findings {
    let lines = include_str!("../../../probes/exercise/jvm.txt").lines();
    let lines = lines.map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let items = lines.map(|line| Item { kind: "call".into(), name: line.into() }).collect();
    Findings { items, notes: Vec::new() }
}

/// The class path of a command, when it is one of `java`; of a jar, that jar.
pub fn class_path(command: &[String]) -> Option<String> {
    let mut words = command.iter().skip_while(|word| !word.ends_with("java")).skip(1);
    let mut path = None;
    while let Some(word) = words.next() {
        match word.as_str() {
            "-cp" | "-classpath" | "--class-path" => path = words.next().cloned(),
            "-jar" => return words.next().cloned(),
            // Options with a value of their own.
            "-p" | "--module-path" | "--add-modules" | "--add-opens" | "--add-exports" | "--add-reads" => {
                words.next();
            }
            "-m" | "--module" => return path,
            word => match word.strip_prefix("--class-path=") {
                Some(given) => path = Some(given.into()),
                // What follows are the application's own arguments.
                None if !word.starts_with('-') && !word.starts_with('@') => return path,
                None => {}
            },
        }
    }
    path
}

/// A constant pool in the making: each entry once.
#[derive(Default)]
struct Pool(Vec<Vec<u8>>);

impl Pool {
    /// The index of an entry, counted from 1. No entry here takes two places.
    fn entry(&mut self, bytes: Vec<u8>) -> u16 {
        let at = self.0.iter().position(|known| *known == bytes).unwrap_or_else(|| {
            self.0.push(bytes);
            self.0.len() - 1
        });
        at as u16 + 1
    }

    fn utf8(&mut self, text: &str) -> u16 {
        let length = (text.len() as u16).to_be_bytes();
        self.entry([&[1], &length[..], text.as_bytes()].concat())
    }

    /// An entry that is a tag and indices.
    fn indices(&mut self, tag: u8, indices: &[u16]) -> u16 {
        let indices = indices.iter().flat_map(|index| index.to_be_bytes());
        self.entry([tag].into_iter().chain(indices).collect())
    }

    fn class(&mut self, name: &str) -> u16 {
        let name = self.utf8(name);
        self.indices(7, &[name])
    }

    fn string(&mut self, text: &str) -> u16 {
        let text = self.utf8(text);
        self.indices(8, &[text])
    }

    /// A field (tag 9) or method (tag 10) of a class.
    fn member(&mut self, tag: u8, class: &str, name: &str, kind: &str) -> u16 {
        let (name, kind) = (self.utf8(name), self.utf8(kind));
        let (class, pair) = (self.class(class), self.indices(12, &[name, kind]));
        self.indices(tag, &[class, pair])
    }
}

/// Code in the making.
#[derive(Default)]
struct Code {
    pool: Pool,
    bytes: Vec<u8>,
}

impl Code {
    fn here(&self) -> u16 {
        self.bytes.len() as u16
    }

    fn op(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend(bytes);
        self
    }

    /// An instruction with an index into the pool.
    fn with(&mut self, opcode: u8, index: u16) -> &mut Self {
        self.bytes.push(opcode);
        self.bytes.extend(index.to_be_bytes());
        self
    }

    fn call(&mut self, class: &str, name: &str, kind: &str) -> &mut Self {
        let method = self.pool.member(10, class, name, kind);
        self.with(INVOKEVIRTUAL, method)
    }

    fn call_static(&mut self, class: &str, name: &str, kind: &str) -> &mut Self {
        let method = self.pool.member(10, class, name, kind);
        self.with(INVOKESTATIC, method)
    }

    fn text(&mut self, text: &str) -> &mut Self {
        let string = self.pool.string(text);
        self.with(LDC_W, string)
    }

    /// A branch to a place that is known already, or to one that [`Code::land`] fills in.
    fn branch(&mut self, opcode: u8, target: Option<u16>) -> u16 {
        let at = self.here();
        self.with(opcode, target.map_or(0, |target| target.wrapping_sub(at)));
        at
    }

    /// Lets the branch at `from` lead here.
    fn land(&mut self, from: u16) {
        let distance = (self.here() - from).to_be_bytes();
        self.bytes[usize::from(from) + 1..][..2].copy_from_slice(&distance);
    }

    /// Prints a piece, the item, and what `rest` puts on the stack and adds to it.
    fn print(&mut self, rest: impl FnOnce(&mut Self)) {
        let out = self.pool.member(9, "java/lang/System", "out", "Ljava/io/PrintStream;");
        self.with(GETSTATIC, out).text("{\"item\": \"call ").op(&[ALOAD_2]).call(STRING, "concat", CONCAT);
        rest(self);
        self.call("java/io/PrintStream", "println", "(Ljava/lang/String;)V");
    }
}

const STRING: &str = "java/lang/String";
const CONCAT: &str = "(Ljava/lang/String;)Ljava/lang/String;";

const ACONST_NULL: u8 = 1;
const ICONST_0: u8 = 3;
const ICONST_1: u8 = 4;
const LDC_W: u8 = 19;
const ALOAD: u8 = 25;
const ILOAD_1: u8 = 27;
const ALOAD_0: u8 = 42;
const ALOAD_2: u8 = 44;
const ALOAD_3: u8 = 45;
const AALOAD: u8 = 50;
const ASTORE: u8 = 58;
const ISTORE_1: u8 = 60;
const ASTORE_2: u8 = 77;
const ASTORE_3: u8 = 78;
const POP: u8 = 87;
const IINC: u8 = 132;
const IF_ICMPGE: u8 = 162;
const IF_ICMPLE: u8 = 164;
const GOTO: u8 = 167;
const RETURN: u8 = 177;
const GETSTATIC: u8 = 178;
const INVOKEVIRTUAL: u8 = 182;
const INVOKESTATIC: u8 = 184;
const ARRAYLENGTH: u8 = 190;

/// The bytes of the class file. Local variables: 0 the arguments, 1 the next one, 2 the item, 3 its parts, 4 the class
/// or the name of what was thrown.
pub fn class_file() -> Vec<u8> {
    let mut code = Code::default();
    code.op(&[ICONST_0, ISTORE_1]);
    let next = code.here();
    code.op(&[ILOAD_1, ALOAD_0, ARRAYLENGTH]);
    let end = code.branch(IF_ICMPGE, None);
    code.op(&[ALOAD_0, ILOAD_1, AALOAD, ASTORE_2, IINC, 1, 1]);

    let start = code.here();
    code.op(&[ALOAD_2]).text("#").call(STRING, "split", "(Ljava/lang/String;)[Ljava/lang/String;").op(&[ASTORE_3]);
    code.op(&[ALOAD_3, ICONST_0, AALOAD]);
    code.call_static("java/lang/Class", "forName", "(Ljava/lang/String;)Ljava/lang/Class;").op(&[ASTORE, 4]);
    code.op(&[ALOAD_3, ARRAYLENGTH, ICONST_1]);
    let initialised = code.branch(IF_ICMPLE, None);
    code.op(&[ALOAD, 4, ALOAD_3, ICONST_1, AALOAD, ACONST_NULL]);
    let get_method = "(Ljava/lang/String;[Ljava/lang/Class;)Ljava/lang/reflect/Method;";
    code.call("java/lang/Class", "getMethod", get_method).op(&[ACONST_NULL, ACONST_NULL]);
    let invoke = "(Ljava/lang/Object;[Ljava/lang/Object;)Ljava/lang/Object;";
    code.call("java/lang/reflect/Method", "invoke", invoke).op(&[POP]);
    code.land(initialised);
    code.print(|code| {
        code.text("\", \"ok\": true}").call(STRING, "concat", CONCAT);
    });
    let stop = code.here();
    code.branch(GOTO, Some(next));

    let handler = code.here();
    code.call("java/lang/Object", "getClass", "()Ljava/lang/Class;");
    code.call("java/lang/Class", "getName", "()Ljava/lang/String;").op(&[ASTORE, 4]);
    code.print(|code| {
        code.text("\", \"ok\": false, \"error\": \"").call(STRING, "concat", CONCAT);
        code.op(&[ALOAD, 4]).call(STRING, "concat", CONCAT).text("\"}").call(STRING, "concat", CONCAT);
    });
    code.branch(GOTO, Some(next));
    code.land(end);
    code.op(&[ICONST_0]).call_static("java/lang/System", "exit", "(I)V").op(&[RETURN]);

    let Code { mut pool, bytes } = code;
    let throwable = pool.class("java/lang/Throwable");
    let handlers: Vec<u8> = [1, start, stop, handler, throwable].into_iter().flat_map(u16::to_be_bytes).collect();
    // max_stack, max_locals, the code, its handlers, no attributes.
    let length = (bytes.len() as u32).to_be_bytes();
    let body = [&8u16.to_be_bytes()[..], &5u16.to_be_bytes(), &length, &bytes, &handlers, &[0, 0]].concat();
    let (this, parent) = (pool.class(CLASS), pool.class("java/lang/Object"));
    let (main, kind, attribute) = (pool.utf8("main"), pool.utf8("([Ljava/lang/String;)V"), pool.utf8("Code"));

    let mut file = vec![0xca, 0xfe, 0xba, 0xbe];
    // Minor and major version, then the size of the pool, which counts an entry 0.
    file.extend([0, 49, pool.0.len() as u16 + 1].into_iter().flat_map(u16::to_be_bytes));
    file.extend(pool.0.concat());
    // Public, final, super; no interfaces, no fields; one method, public and static, with one attribute.
    let head = [0x31, this, parent, 0, 0, 1, 0x09, main, kind, 1, attribute];
    file.extend(head.into_iter().flat_map(u16::to_be_bytes));
    file.extend((body.len() as u32).to_be_bytes());
    file.extend(body);
    file.extend([0, 0]);
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_path_is_found_in_a_command() {
        for (command, expected) in [
            ("java -cp /a:/b/* Main -cp x", Some("/a:/b/*")),
            ("/usr/bin/java -Xmx1g -jar /app.jar -jar y", Some("/app.jar")),
            ("java --add-opens a/b=c --class-path=/x -m m/Main", Some("/x")),
            ("java Main -cp /x", None),
            ("python3 -cp x", None),
            ("java -cp", None),
        ] {
            let command: Vec<String> = command.split(' ').map(String::from).collect();
            assert_eq!(class_path(&command).as_deref(), expected, "{command:?}");
        }
    }

    /// A virtual machine loads it, verifies it and runs it.
    #[test]
    fn the_class_calls_what_it_is_told_to() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(format!("{CLASS}.class")), class_file()).unwrap();
        let output = std::process::Command::new("java")
            .args(["-Xverify:all", "-cp"])
            .arg(dir.path())
            .args([CLASS, "java.util.zip.CRC32", "java.util.Locale#getDefault", "no.such.Class", "java.util.Locale#no"])
            .output()
            .expect("java\nhint: apt-get install openjdk-17-jre-headless");
        let said = String::from_utf8(output.stdout).unwrap();
        let expected = "{\"item\": \"call java.util.zip.CRC32\", \"ok\": true}\n\
                        {\"item\": \"call java.util.Locale#getDefault\", \"ok\": true}\n\
                        {\"item\": \"call no.such.Class\", \"ok\": false, \"error\": \"java.lang.ClassNotFoundException\"}\n\
                        {\"item\": \"call java.util.Locale#no\", \"ok\": false, \"error\": \"java.lang.NoSuchMethodException\"}\n";
        assert_eq!((said.as_str(), output.status.code()), (expected, Some(0)));
    }
}
