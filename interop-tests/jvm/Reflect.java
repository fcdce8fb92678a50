import java.lang.reflect.Constructor;
import java.lang.reflect.Executable;
import java.lang.reflect.Field;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;

/**
 * Classes, methods and fields that not every release has, by name: the same sources compile against all of them, and
 * what a release lacks fails when it is asked for.
 */
final class Reflect {
  /** A new object, by the public constructor that takes these arguments. */
  static Object make(String type, Object... args) {
    try {
      for (Constructor<?> constructor : Class.forName(type).getConstructors()) {
        if (takes(constructor, args)) {
          return constructor.newInstance(args);
        }
      }
    } catch (ReflectiveOperationException e) {
      throw unwrapped(e);
    }
    throw new UnsupportedOperationException("this Spark's " + type + " takes other arguments");
  }

  /** Calls the public or own method of this name that takes these arguments. */
  static Object call(Object target, String name, Object... args) {
    try {
      for (Method method : target.getClass().getMethods()) {
        if (method.getName().equals(name) && takes(method, args)) {
          method.setAccessible(true);
          return method.invoke(target, args);
        }
      }
      for (Method method : target.getClass().getDeclaredMethods()) {
        if (method.getName().equals(name) && takes(method, args)) {
          method.setAccessible(true);
          return method.invoke(target, args);
        }
      }
    } catch (ReflectiveOperationException e) {
      throw unwrapped(e);
    }
    throw new UnsupportedOperationException("this Spark's " + target.getClass().getName() + " has no " + name);
  }

  /** The value of a field of the object's own class, or of the nearest one above that has it. */
  static Object field(Object target, String name) {
    try {
      Class<?> type = target.getClass();
      while (type.getSuperclass() != null && !declares(type, name)) {
        type = type.getSuperclass();
      }
      Field field = type.getDeclaredField(name);
      field.setAccessible(true);
      return field.get(target);
    } catch (ReflectiveOperationException e) {
      throw unwrapped(e);
    }
  }

  private static boolean declares(Class<?> type, String field) {
    for (Field declared : type.getDeclaredFields()) {
      if (declared.getName().equals(field)) {
        return true;
      }
    }
    return false;
  }

  /** Whether a release has a class. */
  static boolean has(String type) {
    try {
      Class.forName(type, false, Reflect.class.getClassLoader());
      return true;
    } catch (ClassNotFoundException e) {
      return false;
    }
  }

  private static boolean takes(Executable executable, Object[] args) {
    Class<?>[] types = executable.getParameterTypes();
    if (types.length != args.length) {
      return false;
    }
    for (int i = 0; i < types.length; i++) {
      if (!types[i].isPrimitive() && args[i] != null && !types[i].isInstance(args[i])) {
        return false;
      }
    }
    return true;
  }

  /** What the called code threw, as if it had been called directly. */
  private static RuntimeException unwrapped(ReflectiveOperationException e) {
    if (e instanceof InvocationTargetException) {
      Reflect.<RuntimeException>sneak(e.getCause());
    }
    return new UnsupportedOperationException("this Spark has no " + e.getMessage(), e);
  }

  @SuppressWarnings("unchecked")
  private static <T extends Throwable> void sneak(Throwable failure) throws T {
    throw (T) failure;
  }
}
